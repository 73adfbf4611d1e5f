import pytest
import torch
from transformers import AutoTokenizer

from configuration_elixir_coder import ElixirCoderConfig
from elixir_coder.example import Triple
from elixir_coder.ontology.extract import schema_triples, triples
from elixir_coder.ontology.linearize import Index, collate, inject, linearize, statements
from elixir_coder.ontology.store import GraphStore
from elixir_coder.ontology.vocabulary import function_iri, module_iri, name_iri
from elixir_coder.toolchain.facts import Call, Clause, FactsReport, FunctionFacts, ModuleFacts
from elixir_coder.toolchain.finding import Outcome
from modeling_elixir_coder import ElixirCoderModel


def function(name, params, line, *, kind="def", impl="", calls=()):
    return FunctionFacts(
        name=name,
        arity=len(params),
        num_defaults=0,
        kind=kind,
        doc=None,
        specs=(),
        impl=impl,
        line=line,
        head_line=line,
        end_line=line,
        clauses=(Clause(params=params, guard="", line=line, end_line=line),),
        calls=tuple(Call(module=module, name=called, arity=arity, line=line) for module, called, arity in calls),
        variables=(),
    )


CART = FactsReport(
    outcome=Outcome.OK,
    modules=(
        ModuleFacts(
            name="Shop.Cart",
            kind="module",
            line=1,
            end_line=9,
            doc=None,
            behaviours=("GenServer",),
            uses=("GenServer",),
            struct=("items", "total"),
            functions=(
                function("label", ("item",), 4, calls=[("String", "to_atom", 1)]),
                function("handle_call", ("request", "from", "state"), 5, impl="true", calls=[("", "total", 1)]),
                function("total", ("state",), 6, kind="defp", calls=[("Enum", "sum", 1), ("Shop.Price", "of", 1)]),
                function("start_link", ("_",), 7, calls=[("GenServer", "start_link", 2)]),
                function("plain", (), 8, calls=[("Kernel", "hd", 1)]),
            ),
        ),
    ),
)
MODULE = module_iri("shop", "1.0.0", "Shop.Cart")


@pytest.fixture(scope="module")
def schema():
    return Index(schema_triples())


@pytest.fixture
def cart(schema):
    return Index(triples(CART, package="shop", version="1.0.0", path="lib/cart.ex"), behind=schema)


class TestSentences:
    def test_a_module_is_told_with_its_functions_the_most_telling_first_and_what_they_lead_to(self, cart):
        assert linearize(cart, [MODULE]) == (
            "Shop.Cart is a server, implements the behaviour GenServer and has a struct with items and total. "
            "Shop.Cart.handle_call/3 implements GenServer.handle_call/3 and calls total/1, which calls Enum.sum/1 and "
            "Shop.Price.of/1. "
            "Shop.Cart.start_link/1 performs a linked start and calls GenServer.start_link/2, which performs a linked "
            "start. "
            "Shop.Cart.label/1 calls String.to_atom/1, which may be atom exhaustion (CWE-400). "
            "Shop.Cart.total/1 calls Enum.sum/1 and Shop.Price.of/1."
        )

    def test_a_function_is_told_alone(self, cart):
        subject = function_iri("shop", "1.0.0", "Shop.Cart", "total", 1)
        assert linearize(cart, [subject]) == "Shop.Cart.total/1 calls Enum.sum/1 and Shop.Price.of/1."

    @pytest.mark.parametrize("budget", [0, 60, 110, 200, 400])
    def test_a_budget_is_kept_and_holds_whole_sentences(self, cart, budget):
        text = linearize(cart, [MODULE], budget=budget)
        assert len(text) <= budget
        assert not text or text.endswith(".")
        whole = linearize(cart, [MODULE])
        assert all(f"{sentence.rstrip('.')}." in whole for sentence in text.split(". ") if sentence)

    def test_a_budget_can_be_of_tokens(self, cart):
        assert linearize(cart, [MODULE], budget=13, count=lambda text: len(text.split())) == (
            "Shop.Cart.handle_call/3 implements GenServer.handle_call/3 and calls total/1, which calls Enum.sum/1 and "
            "Shop.Price.of/1."
        )

    def test_the_order_of_the_triples_does_not_come_from_chance(self, cart, schema):
        again = Index(triples(CART, package="shop", version="1.0.0", path="lib/cart.ex"), behind=schema)
        assert linearize(again, [MODULE]) == linearize(cart, [MODULE])

    def test_a_store_tells_the_same_as_triples(self, cart):
        graph = GraphStore()
        graph.set_schema(schema_triples())
        graph.add("shop", "1.0.0", triples(CART, package="shop", version="1.0.0", path="lib/cart.ex"))
        subject = function_iri("shop", "1.0.0", "Shop.Cart", "handle_call", 3)
        assert linearize(graph, [subject]) == linearize(cart, [subject])

    def test_a_call_is_followed_into_another_file_of_the_store(self):
        graph = GraphStore()
        price = ModuleFacts(
            name="Shop.Price",
            kind="module",
            line=1,
            end_line=3,
            doc=None,
            functions=(function("of", ("item",), 2, calls=[("Decimal", "new", 1)]),),
        )
        graph.add("shop", "1.0.0", triples(CART, package="shop", version="1.0.0", path="lib/cart.ex"))
        facts = FactsReport(outcome=Outcome.OK, modules=(price,))
        graph.add("price", "2.0.0", triples(facts, package="price", version="2.0.0", path="lib/price.ex"))
        told = linearize(graph, [function_iri("shop", "1.0.0", "Shop.Cart", "total", 1)])
        assert told == "Shop.Cart.total/1 calls Enum.sum/1; Shop.Price.of/1, which calls Decimal.new/1."


def test_what_is_known_of_a_name_comes_from_the_ontologies(cart):
    said = [(each.predicate, each.object) for each in statements(cart, name_iri("String", "to_atom", 1))]
    assert said[0] == ("may be the weakness", "atom exhaustion (CWE-400)")
    assert said[1][0] == "is made safe by"
    assert ("gives the role", "server") in [
        (each.predicate, each.object) for each in statements(cart, name_iri("GenServer"))
    ]


# What the figures of the paper show, with our entities: the code is `s = Cart.new now`; two branches hang on `Cart`
# (which is two tokens), one on `new`.
#
#   token            s  =  Ca rt  is ser ver  has  items  .new  makes cart   now
#   soft position    0  1  2  3   4  5   6    4    5      4     5     6      5
#   branch           0  0  0  0   1  1   1    2    2      0     3     3      0
TOKENS = [10, 11, 12, 13, 14, 15]
OFFSETS = [(0, 1), (2, 3), (4, 6), (6, 8), (8, 12), (13, 16)]
WORDS = {" is server": [20, 21, 22], " has items": [30, 31], " makes cart": [40, 41]}
KNOWN = [
    Triple(subject="Cart", predicate="is", object="server", start=4, end=8),
    Triple(subject="Cart", predicate="has", object="items", start=4, end=8),
    Triple(subject="Cart.new", predicate="makes", object="cart", start=9, end=12),
]


class TestKnowledgeTree:
    def test_branches_stand_behind_their_entity_at_soft_positions(self):
        tree = inject(TOKENS, OFFSETS, KNOWN, WORDS.__getitem__)
        assert tree.input_ids == (10, 11, 12, 13, 20, 21, 22, 30, 31, 14, 40, 41, 15)
        assert tree.position_ids == (0, 1, 2, 3, 4, 5, 6, 4, 5, 4, 5, 6, 5)
        assert tree.branches == (0, 0, 0, 0, 1, 1, 1, 2, 2, 0, 3, 3, 0)

    def test_a_branch_sees_itself_and_its_entity_and_code_sees_code(self):
        drawn = """
            # # # # . . . . . # . . #
            # # # # . . . . . # . . #
            # # # # # # # # # # . . #
            # # # # # # # # # # . . #
            . . # # # # # . . . . . .
            . . # # # # # . . . . . .
            . . # # # # # . . . . . .
            . . # # . . . # # . . . .
            . . # # . . . # # . . . .
            # # # # . . . . . # # # #
            . . . . . . . . . # # # .
            . . . . . . . . . # # # .
            # # # # . . . . . # . . #
        """
        expected = [[cell == "#" for cell in row.split()] for row in drawn.strip().splitlines()]
        assert inject(TOKENS, OFFSETS, KNOWN, WORDS.__getitem__).visible().tolist() == expected

    def test_without_branches_it_is_the_plain_encoding(self):
        nowhere = [Triple(subject="Cart", predicate="is", object="server")]
        for known in ([], nowhere):
            tree = inject(TOKENS, OFFSETS, known, WORDS.__getitem__)
            assert tree.input_ids == tuple(TOKENS)
            assert tree.position_ids == tuple(range(6))
            assert tree.visible().all()

    def test_a_length_leaves_out_whole_branches_and_never_code(self):
        tree = inject(TOKENS, OFFSETS, KNOWN, WORDS.__getitem__, max_length=10)
        assert [token for token, branch in zip(tree.input_ids, tree.branches, strict=True) if not branch] == TOKENS
        assert tree.input_ids[4:7] == (20, 21, 22)
        assert len(tree.input_ids) == 9
        assert len(inject(TOKENS, OFFSETS, KNOWN, WORDS.__getitem__, max_length=3).input_ids) == 6

    def test_an_entity_has_as_many_branches_as_it_may(self):
        tree = inject(TOKENS, OFFSETS, KNOWN, WORDS.__getitem__, max_per_anchor=1)
        assert tree.input_ids == (10, 11, 12, 13, 20, 21, 22, 14, 40, 41, 15)

    def test_special_tokens_are_no_entities(self):
        everywhere = [Triple(subject="s", predicate="is", object="server", start=0, end=1)]
        tree = inject([1, 10, 2], [(0, 0), (0, 1), (0, 0)], everywhere, WORDS.__getitem__)
        assert tree.input_ids == (1, 10, 20, 21, 22, 2)
        assert tree.anchors == (frozenset({1}),)

    def test_a_batch_is_padded_where_nothing_sees_it(self):
        trees = [inject(TOKENS, OFFSETS, known, WORDS.__getitem__) for known in ([], KNOWN)]
        batch = collate(trees, pad_token_id=0)
        assert batch["input_ids"].shape == batch["position_ids"].shape == (2, 13)
        assert batch["input_ids"][0, 6:].tolist() == [0] * 7
        assert not batch["attention_mask"][0, 6:].any()
        assert not batch["attention_mask"][0, :, 6:].any()
        assert batch["attention_mask"][0, :6, :6].all()


@pytest.mark.parametrize("positions", ["relative", "sinusoidal", "rotary", "learned", "alibi"])
class TestInTheModel:
    def model(self, positions, layers):
        torch.manual_seed(0)
        config = ElixirCoderConfig.tiny(
            vocab_size=64,
            d_model=32,
            encoder_layers=layers,
            decoder_layers=1,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            position_embedding_type=positions,
        )
        return ElixirCoderModel(config).eval().get_encoder()

    def hidden(self, model, tree, others=()):
        with torch.no_grad():
            return model(**collate([tree, *others], pad_token_id=0)).last_hidden_state[0, : len(tree.input_ids)]

    def test_in_one_layer_a_branch_changes_its_entity_and_no_other_code(self, positions):
        model = self.model(positions, layers=1)
        one = inject(TOKENS, OFFSETS, KNOWN, WORDS.__getitem__)
        other = inject(TOKENS, OFFSETS, KNOWN, (WORDS | {" is server": [50, 51, 52]}).__getitem__)
        change = (self.hidden(model, one) - self.hidden(model, other)).abs().amax(dim=1)
        changed = {at for at, size in enumerate(change.tolist()) if size > 1e-5}
        assert changed == {2, 3, 4, 5, 6}  # the entity and the branch itself

    def test_over_two_layers_it_reaches_the_code_through_its_entity(self, positions):
        model = self.model(positions, layers=2)
        one = inject(TOKENS, OFFSETS, KNOWN, WORDS.__getitem__)
        other = inject(TOKENS, OFFSETS, KNOWN, (WORDS | {" is server": [50, 51, 52]}).__getitem__)
        change = (self.hidden(model, one) - self.hidden(model, other)).abs().amax(dim=1)
        # All but the branch of `new`, which sees what `new` was a layer before.
        assert [at for at, size in enumerate(change.tolist()) if size <= 1e-7] == [10, 11]

    def test_code_elsewhere_is_as_it_would_be_without_any_branch(self, positions):
        model = self.model(positions, layers=1)
        plain = self.hidden(model, inject(TOKENS, OFFSETS, [], WORDS.__getitem__))
        tree = self.hidden(model, inject(TOKENS, OFFSETS, KNOWN, WORDS.__getitem__))
        torch.testing.assert_close(tree[[0, 1, 12]], plain[[0, 1, 5]], atol=1e-5, rtol=1e-4)

    def test_an_empty_tree_and_a_place_in_a_batch_change_nothing(self, positions):
        model = self.model(positions, layers=2)
        empty, full = (inject(TOKENS, OFFSETS, known, WORDS.__getitem__) for known in ([], KNOWN))
        with torch.no_grad():
            plain = model(input_ids=torch.tensor([TOKENS])).last_hidden_state[0]
        torch.testing.assert_close(self.hidden(model, empty), plain, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(self.hidden(model, empty, [full]), plain, atol=1e-5, rtol=1e-4)


def test_the_shipped_tokenizer_and_model_take_a_tree():
    tokenizer = AutoTokenizer.from_pretrained(".")
    code = "def total(cart), do: Enum.sum(cart.items)"
    start = code.index("Enum.sum")
    known = [Triple(subject="Enum.sum/1", predicate="adds", object="numbers", start=start, end=start + 8)]
    encoded = tokenizer(code, return_offsets_mapping=True)
    tree = inject(
        encoded["input_ids"],
        encoded["offset_mapping"],
        known,
        lambda text: tokenizer(text, add_special_tokens=False)["input_ids"],
    )
    (anchor,) = tree.anchors
    assert tokenizer.decode([tree.input_ids[at] for at in sorted(anchor)]).strip() == "Enum.sum"
    branch = [token for token, number in zip(tree.input_ids, tree.branches, strict=True) if number]
    assert tokenizer.decode(branch) == " adds numbers"
