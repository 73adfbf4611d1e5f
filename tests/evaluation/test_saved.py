import json
import multiprocessing

import pytest

from elixir_coder.errors import DataError, InputError
from elixir_coder.evaluation.saved import SavedRows, read_rows

ROWS = [{"id": "a", "text": "é\n"}, {"id": "b", "text": '"\\ \u2028'}, {"id": "c", "n": 1.5}]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.jsonl"


@pytest.fixture
def written(path):
    with SavedRows(path, resume=False) as saved:
        saved.append(ROWS[0])
        saved.append(*ROWS[1:])
    return path.read_bytes()


def test_rows_are_read_as_they_were_appended(path, written):
    assert written.count(b"\n") == 3
    assert read_rows(path) == ROWS
    with SavedRows(path, resume=True) as saved:
        assert saved.rows == ROWS


def test_a_row_is_on_the_disk_when_append_returns(path):
    with SavedRows(path, resume=False) as saved:
        saved.append(ROWS[0])
        assert read_rows(path) == ROWS[:1] == saved.rows


def test_a_file_cut_at_any_byte_of_its_last_line_goes_on_with_the_whole_rows(path, written):
    begin = written.rstrip(b"\n").rfind(b"\n") + 1
    for end in range(begin, len(written)):
        path.write_bytes(written[:end])
        with SavedRows(path, resume=True) as saved:
            assert saved.rows == ROWS[:2]
            saved.append(ROWS[2])
        assert path.read_bytes() == written


def test_a_damaged_line_before_the_last_is_told_and_nothing_is_lost(path, written):
    damaged = written.replace(b'{"id": "b"', b'{"id" "b"')
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"rows\.jsonl, line 2: not JSON in UTF-8 .*; take that line out"):
        SavedRows(path, resume=True)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("line", [b"\xff\n", b"[1]\n", b"3\n"])
def test_a_line_that_is_no_object_is_told(path, line):
    path.write_bytes(line)
    with pytest.raises(DataError, match="line 1: not "):
        read_rows(path)


def test_beginning_anew_keeps_the_older_file(path, written):
    with SavedRows(path, resume=False) as saved:
        assert saved.rows == []
    assert path.read_bytes() == b""
    assert path.with_name("rows.jsonl.old").read_bytes() == written


def test_a_file_is_gone_on_with_by_one_run_at_a_time(path, written):
    with SavedRows(path, resume=True):
        context = multiprocessing.get_context("fork")
        with context.Pool(1) as pool:
            assert "being written by another run" in pool.apply(_try_to_write, (path,))
    assert path.read_bytes() == written


def _try_to_write(path):
    try:
        SavedRows(path, resume=True)
    except InputError as error:
        return str(error)


def test_half_a_surrogate_pair_is_saved_as_a_question_mark(path):
    with SavedRows(path, resume=False) as saved:
        saved.append({"text": "\ud800"})
    assert json.loads(path.read_bytes()) == {"text": "?"}


def test_places_that_cannot_be_used_are_told(tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*No such file or directory; choose another place with --out"):
        SavedRows(tmp_path / "no" / "rows.jsonl", resume=False)
    with pytest.raises(DataError, match=r"cannot read .*none\.jsonl: No such file"):
        read_rows(tmp_path / "none.jsonl")
