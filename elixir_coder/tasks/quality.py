"""Code to what Credo says of it, one judgement for each of its checks.

    source  <review> code </s>          judgements  quality: 1, 0 or -100 for each of the model's labels

From everything that Credo judged; of pairs with a fault written in half of the rows show the faulty text, half the
clean one. What Credo named is 1 and what it did not is 0; -100 where that says nothing: a check that looks at a whole
module in a function by itself, one that never speaks here, and what lies behind the end of code that was cut.
Metric: macro_average_precision.

`tier` says how difficult an example is, for a curriculum that begins with the easy ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from elixir_coder.errors import RecipeError
from elixir_coder.example import Example, Label
from elixir_coder.tasks.prompt import prompt, whole_prompt
from elixir_coder.tasks.row import UNKNOWN, Row, Setup

_TOOL = "credo"


@dataclass(frozen=True)
class Quality:
    """faulty: share of the rows of a pair that show the text with the fault."""

    setup: Setup
    faulty: float = 0.5

    name: ClassVar[str] = "quality"
    metric: ClassVar[str] = "macro_average_precision"
    columns: ClassVar[tuple[str, ...]] = ("kind", "name", "code", "before", "labels", "before_labels", "checked_by")

    def __post_init__(self) -> None:
        if not self.setup.quality_labels:
            raise RecipeError("task quality needs a model with quality labels; give it `quality_labels`")

    def accepts(self, example: Example) -> bool:
        return is_judged(example, _TOOL)

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        seen = review(self.setup, example, rng, self.faulty)
        return Row(seen.source, judgements={"quality": vector(self.setup.quality_labels, seen, _TOOL)})


# ------------------------------------------------------------------------------------------------------------- the text


@dataclass(frozen=True)
class Review:
    """A text as it is shown. labels: what was said of all of it. num_lines: how many lines are shown, None for all.

    is_function: one function by itself. is_faulty: a fault was written into it.
    """

    source: list[int]
    labels: tuple[Label, ...]
    num_lines: int | None
    is_function: bool
    is_faulty: bool

    def shows(self, label: Label) -> bool:
        """Whether what a label is about can be seen."""
        if self.num_lines is None:
            return True
        return label.line <= self.num_lines and TIERS.get(label.check) != MEASURED


def review(setup: Setup, example: Example, rng: np.random.Generator, faulty: float) -> Review:
    """One of an example's texts with what was said of it. faulty: how often it is `before`, where there is one."""
    is_faulty = bool(example.before_labels) and bool(rng.random() < faulty)
    code = example.before if is_faulty else example.code
    source, num_lines = whole_prompt(setup, "quality", code=code), None
    if source is None:
        source = prompt(setup, "quality", code=code)
        num_lines = setup.tokenizer.decode(source[1:-1]).count("\n")
    return Review(
        source,
        labels=example.before_labels if is_faulty else example.labels,
        num_lines=num_lines,
        is_function=example.kind == "function" or (example.kind == "violation" and "/" in example.name),
        is_faulty=is_faulty,
    )


def vector(names: tuple[str, ...], seen: Review, tool: str) -> np.ndarray:
    """A judgement for each name, (len(names),) int64: 1 named, 0 not named, -100 not known."""
    named = {label.check: False for label in seen.labels if label.tool == tool}
    for label in seen.labels:
        if label.tool == tool and seen.shows(label):
            named[label.check] = True
    unknown = _SILENT | _OF_MODULES if seen.is_function else _SILENT
    return np.array(
        [(1 if named[name] else UNKNOWN) if name in named else UNKNOWN if name in unknown else 0 for name in names]
    )


def is_judged(example: Example, tool: str) -> bool:
    """Whether a tool judged the example, so that what it did not name is a negative."""
    return any(version.split(" ")[0] == tool for version in example.checked_by)


def new_labels(example: Example) -> tuple[Label, ...]:
    """What the tools say of `before` and not of `code`: it comes of the fault, which is all that they differ in."""
    own = {label.check for label in example.labels}
    return tuple(label for label in example.before_labels if label.check not in own)


@cache
def _check_of(rule: str) -> str:
    from elixir_coder.data.label import check_of

    return check_of(rule)


def intended(example: Example) -> str:
    """The label that a fault was written for, which the diagnosis speaks of; "" where no rule wrote it."""
    return _check_of(example.injected)


# ----------------------------------------------------------------------------------------------------------- the labels

# Say nothing in a text by itself: docs/LABELS.md has the reason for each.
_SILENT = frozenset(
    {
        "Credo.Check.Readability.PreferUnquotedAtoms",
        "Credo.Check.Refactor.MapInto",
        "Credo.Check.Warning.ForbiddenModule",
        "Credo.Check.Warning.LazyLogging",
        "Credo.Check.Warning.UnusedOperation",
        "Credo.Check.Warning.WrongTestFileExtension",
        "Misc.FilePath",
    }
)

# Look at what stands around functions, or ask what kind of module it is. Of 15,620 functions of Debian and 10,709 that
# rules of injection took, nine have one of these: AliasOrder, StrictModuleLayout and XSS.HTML.
_OF_MODULES = frozenset(
    f"Credo.Check.{name}"
    for name in (
        "Consistency.ExceptionNames Consistency.LineEndings Consistency.MultiAliasImportRequireUse "
        "Consistency.TabsOrSpaces Design.SkipTestWithoutComment Readability.AliasAs Readability.AliasOrder "
        "Readability.ModuleDoc Readability.ModuleNames Readability.MultiAlias Readability.SeparateAliasRequire "
        "Readability.StrictModuleLayout Readability.TrailingBlankLine Readability.UnnecessaryAliasExpansion "
        "Refactor.ModuleDependencies Refactor.PassAsyncInTestCases Warning.ApplicationConfigInModuleAttribute "
        "Warning.StructFieldAmount Warning.WrongTestFilename"
    ).split()
) | frozenset(
    "Config.CSP Config.CSRFRoute Config.CSRF Config.CSWH Config.Headers Config.HSTS Config.HTTPS Config.Secrets "
    "Traversal.SendDownload Traversal.SendFile XSS.ContentType XSS.HTML XSS.SendResp".split()
)

MEASURED = 4
_BY_TIER: Mapping[int, str] = MappingProxyType(
    {
        # Layout, and words that give it away.
        1: "Consistency: LineEndings SpaceAroundOperators SpaceInParentheses TabsOrSpaces "
        "Design: TagFIXME TagTODO "
        "Readability: LargeNumbers MaxLineLength ParenthesesInCondition ParenthesesOnZeroArityDefs PreferUnquotedAtoms "
        "RedundantBlankLines Semicolons SpaceAfterCommas StringSigils TrailingBlankLine TrailingWhiteSpace "
        "Refactor: IoPuts "
        "Warning: Dbg IExPry IoInspect",
        # The form of one expression or definition, and names.
        2: "Consistency: ExceptionNames MultiAliasImportRequireUse ParameterPatternMatching UnusedVariableNames "
        "Design: SkipTestWithoutComment "
        "Readability: AliasAs AliasOrder BlockPipe FunctionNames ImplTrue ModuleAttributeNames ModuleDoc ModuleNames "
        "MultiAlias OneArityFunctionInPipe OnePipePerLine PipeIntoAnonymousFunctions PredicateFunctionNames "
        "PreferImplicitTry SeparateAliasRequire SingleFunctionToBlockPipe SinglePipe Specs UnnecessaryAliasExpansion "
        "VariableNames WithCustomTaggedTuple WithSingleClause "
        "Refactor: CaseTrivialMatches CondInsteadOfIfElse CondStatements DoubleBooleanNegation MatchInCondition "
        "NegatedConditionsInUnless NegatedConditionsWithElse NegatedIsNil PassAsyncInTestCases "
        "RedundantWithClauseResult UnlessWithElse WithClauses "
        "Warning: BoolOperationOnSameValues OperationOnSameValues OperationWithConstantResult SpecWithStruct "
        "WrongTestFileExtension WrongTestFilename",
        # What calls and pipes mean.
        3: "Design: AliasUsage "
        "Readability: NestedFunctionCalls "
        "Refactor: AppendSingleItem Apply FilterCount FilterFilter FilterReject MapInto MapJoin MapMap PipeChainStart "
        "RejectFilter RejectReject UtcNowTruncate VariableRebinding "
        "Warning: ApplicationConfigInModuleAttribute ExpensiveEmptyEnumCheck ForbiddenModule LazyLogging "
        "LeakyEnvironment MapGetUnsafePass MissedMetadataKeyInLoggerConfig MixEnv RaiseInsideRescue UnsafeExec "
        "UnsafeToAtom UnusedEnumOperation UnusedFileOperation UnusedKeywordOperation UnusedListOperation "
        "UnusedMapOperation UnusedOperation UnusedPathOperation UnusedRegexOperation UnusedStringOperation "
        "UnusedTupleOperation",
        # Measured, counted or compared over all of a text.
        MEASURED: "Design: DuplicatedCode "
        "Readability: StrictModuleLayout "
        "Refactor: ABCSize CyclomaticComplexity FunctionArity LongQuoteBlocks ModuleDependencies Nesting "
        "PerceivedComplexity "
        "Warning: StructFieldAmount",
    }
)


def _tiers() -> dict[str, int]:
    tiers, group = {}, ""
    for tier_of_names, names in _BY_TIER.items():
        for name in names.split():
            if name.endswith(":"):
                group = name[:-1]
            else:
                tiers[f"Credo.Check.{group}.{name}"] = tier_of_names
    return tiers


TIERS: Mapping[str, int] = MappingProxyType(_tiers())
OTHER_TIER = 3  # of a rule that is not in the table, and of Sobelow's, which ask where a value comes from


def tier(example: Example) -> int:
    """How hard it is to see what there is to see, 1 to 4: the hardest of the rules that are broken.

    1: layout, and words that give it away. 2: the form of one expression or definition, and names. 3: what calls and
    pipes mean. 4: measured or compared over all of a text. Of a pair it is what the fault breaks; 1 where nothing is.
    """
    labels = new_labels(example) if example.before_labels else example.labels
    return max((TIERS.get(label.check, OTHER_TIER) for label in labels), default=1)
