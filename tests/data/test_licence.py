import pytest

from elixir_coder.data.licence import Licences, canonical, is_allowed, licence_of_text, parse_copyright

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: toy

Files: *
Copyright: 2020 A
License: Apache-2.0

Files: lib/vendor/* src/?.ex
Copyright: 2019 B
License: Expat or GPL-2+

Files: lib/vendor/secret.ex
Copyright: 2018 C
License: proprietary

License: Expat
 Permission is hereby granted ...
"""
MIT = "MIT License\n\nPermission is hereby granted, free of charge, to any\nperson obtaining a copy of this software"
APACHE = "                 Apache License\n           Version 2.0, January 2004\n"


@pytest.mark.parametrize(
    ("path", "licence"),
    [
        ("mix.exs", "Apache-2.0"),
        ("lib/toy/deep/down.ex", "Apache-2.0"),
        ("lib/vendor/deep/down.ex", "MIT or GPL-2+"),
        ("lib/vendor/secret.ex", "proprietary"),
        ("src/a.ex", "MIT or GPL-2+"),
        ("src/ab.ex", "Apache-2.0"),
    ],
)
def test_the_last_paragraph_that_matches_a_file_names_its_licence(path, licence):
    assert Licences([("debian/copyright", COPYRIGHT)]).of(path, "") == licence


def test_a_free_form_copyright_file_says_nothing():
    assert parse_copyright("This package was debianized by A.\n\nFiles are under the GPL.\n") is None


def test_a_files_own_header_comes_before_everything_else():
    code = "## This file is subject to the terms of the Mozilla Public\n## License, v. 2.0.\n\ndefmodule A do\nend\n"

    assert Licences([("debian/copyright", COPYRIGHT)]).of("lib/a.ex", code) == "MPL-2.0"


def test_an_spdx_tag_counts_wherever_it_stands():
    code = "defmodule A do\nend\n" * 500 + "#  SPDX-License-Identifier: Apache-2.0\n"

    assert Licences([]).of("lib/a.ex", code) == "Apache-2.0"


def test_a_copyleft_header_in_a_permissive_project_is_seen():
    code = "# you can redistribute it under the terms of the\n# GNU General Public License as published by the FSF\n"

    assert not is_allowed(Licences([("LICENSE", APACHE)]).of("lib/a.ex", code))


def test_a_vendored_project_is_under_its_own_licence_file():
    licences = Licences([("debian/copyright", COPYRIGHT), ("deps/csv/LICENSE", MIT), ("LICENSE", APACHE)])

    assert licences.of("deps/csv/lib/csv.ex", "") == "MIT"
    assert licences.of("deps/other/lib/csv.ex", "") == "Apache-2.0"


def test_a_licence_file_comes_before_the_readme_and_that_before_mix_exs():
    mix = 'package: [licenses: ["ISC", "MIT"]]'
    readme = "# Toy\n## License\nLicensed under the Apache License, Version 2.0\n"

    assert Licences([("mix.exs", mix)]).of("lib/a.ex", "") == "ISC and MIT"
    assert Licences([("mix.exs", mix), ("README.md", readme)]).of("lib/a.ex", "") == "Apache-2.0"
    assert Licences([("mix.exs", mix), ("README.md", readme), ("LICENSE.txt", MIT)]).of("lib/a.ex", "") == "MIT"


def test_two_licence_files_side_by_side_both_bind():
    assert Licences([("LICENSE-APACHE", APACHE), ("LICENSE-MIT", MIT)]).of("a.ex", "") == "Apache-2.0 and MIT"


def test_without_any_statement_the_licence_is_unknown():
    assert Licences([("README.md", "# Toy")]).of("lib/a.ex", "x = 1") == "unknown"


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (APACHE, "Apache-2.0"),
        (MIT, "MIT"),
        ("Redistribution and use in source and binary forms, with or without", "BSD-2-Clause"),
        ("Redistribution and use in source and binary forms ... Neither the name of X", "BSD-3-Clause"),
        ("Permission to use, copy, modify, and/or distribute this software for any purpose", "ISC"),
        ("Mozilla Public License Version 2.0 ... the GNU General Public License, Version 2.0", "MPL-2.0"),
        ("GNU GENERAL PUBLIC LICENSE\n Version 3", "GPL"),
        ("All rights reserved.", "unknown"),
    ],
)
def test_a_licence_is_known_by_its_wording(text, licence):
    assert licence_of_text(text) == licence


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("MIT or GPL-2+", True),
        ("GPL-2+ or MIT", True),
        ("MIT and GPL-2+", False),
        ("Apache-2.0 and MIT", True),
        ("GPL-2+ or MIT and Apache-2.0", True),
        ("GPL-2+ or MIT, and BSD-4-Clause", False),
        ("GPL-2+ with OpenSSL exception", False),
        ("Apache-2.0 AND MIT", True),
        ("unknown", False),
    ],
)
def test_an_expression_is_allowed_when_allowed_licences_meet_it(expression, allowed):
    assert is_allowed(expression) is allowed


def test_debians_names_become_spdx_names():
    assert canonical("Expat or Apache-2, and BSD-3-clause") == "MIT or Apache-2.0, and BSD-3-Clause"


@pytest.mark.parametrize(
    ("spelling", "licence"),
    [
        ("The MIT License (MIT)", "MIT"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("BSD 3-Clause License", "BSD-3-Clause"),
        ("Mozilla Public License 2.0", "MPL-2.0"),
        ("Public Domain", "public-domain"),
    ],
)
def test_what_packages_of_hex_call_their_licence_is_understood(spelling, licence):
    assert canonical(spelling) == licence
    assert is_allowed(canonical(spelling))
    assert not is_allowed(canonical("WTFPL"))
