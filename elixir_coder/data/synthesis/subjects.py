# ruff: noqa: E501  (tables: one row, one line)
"""What exercises are about: scores, orders, sensors, words; with values of them and the names programs give them."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from elixir_coder.data.synthesis.types import Name, Type, parse

Draw = Callable[[random.Random], Any]

_FIRST = "Ana Ben Chloé Dmitri Elif Farah Goran Hana Igor José Kemal Lena Mia Noor Omar Petra Quinn Rosa Sven Tomás Uma Viktor Wei Xenia Yusuf Zoë".split()
_LAST = "Adler Brandt Costa Duarte Eriksen Fischer García Haddad Ivanov Jansen Kaya Lopez Müller Novak Okafor Petrov Rossi Silva Tanaka Weber".split()
_CITIES = (
    "Oslo Lima Cairo Zürich Kraków Porto Lagos Osaka Quito Tallinn Reykjavík Hanoi Austin Bergen Dakar Izmir".split()
)
_COUNTRIES = "Norway Peru Egypt Switzerland Poland Portugal Nigeria Japan Ecuador Estonia Iceland Vietnam".split()
_WORDS = "amber basil cedar delta ember fjord grove harbor island jasmine kayak lemon maple noon orchid pepper quartz river stone topaz umbra violet willow yarrow zephyr level civic radar".split()
_TITLES = [
    "The Long Way",
    "Winter Tales",
    "Red Lantern",
    "A Quiet Place",
    "Northern Lights",
    "Paper Boats",
    "Glass Garden",
    "Slow Trains",
    "Night Shift",
    "Salt and Stone",
    "Blue Hour",
    "Open Sea",
]
_TAGS = "elixir otp web api db cache beam docs test deploy queue auth search mobile infra".split()
_LINES = [
    "GET /users 200",
    "POST /orders 500",
    "GET /health 200",
    "WARN disk almost full",
    "ERROR timeout after 30s",
    "INFO started worker 3",
    "DEBUG cache miss",
    "",
    "ERROR connection lost",
    "INFO stopped",
]
_SENTENCES = [
    "the quick brown fox jumps over the lazy dog",
    "Elixir runs on the BEAM",
    "never odd or even",
    "rain in the north and sun in the south",
    "to be or not to be",
    "A man, a plan, a canal",
    "pipes make the data flow visible",
    "one fish two fish red fish blue fish",
    "Grüße aus Köln",
    "hello",
    "  too   many   spaces ",
    "all that is gold does not glitter",
    "Ship it on Friday, fix it on Monday",
    "42 is the answer; 7 is lucky",
]
_FILES = [
    "mix.exs",
    "README.md",
    "lib/app.ex",
    "test/app_test.exs",
    "notes.txt",
    "photo.JPG",
    "archive.tar.gz",
    "config/dev.exs",
    "logo.svg",
    "Makefile",
]
_MAILS = [
    "ana@example.com",
    "ben@test.org",
    "chloe.adler@example.com",
    "ops@example.net",
    "NOREPLY@example.com",
    "kemal@kaya.example",
]
_CODES = ["AB-1001", "AB-1002", "CX-0007", "ZZ-9999", "QP-0420", "ab-1001", "MN-3141", "CX-0815"]
_COLOURS = "red green blue teal orange black white pink olive navy".split()
_FOOD = ["rice", "olive oil", "tomatoes", "basil", "flour", "eggs", "brown sugar", "salt", "chickpeas", "jalapeños"]


@dataclass(frozen=True, kw_only=True)
class Element:
    """One thing of a kind. fields: of a record or of a tuple, in order. draw: a value of it.

    domain: words for the module's name. bounds: of numbers, both inclusive; thresholds are taken from between them.
    """

    one: str
    plural: str
    type: Type
    draw: Draw
    fields: tuple[Element, ...] = ()
    domain: tuple[str, ...] = ()
    bounds: tuple[int, int] = (0, 100)
    words: tuple[str, ...] = ()

    @property
    def is_pair(self) -> bool:
        return self.type.name == "tuple"

    @property
    def is_record(self) -> bool:
        return bool(self.fields) and not self.is_pair


def _int(one: str, plural: str, low: int, high: int, *domain: str) -> Element:
    return Element(
        one=one,
        plural=plural,
        type=parse("int"),
        domain=domain,
        bounds=(low, high),
        draw=lambda rng: rng.randint(low, high),
    )


def _float(one: str, plural: str, low: int, high: int, *domain: str) -> Element:
    return Element(
        one=one,
        plural=plural,
        type=parse("float"),
        domain=domain,
        bounds=(low, high),
        draw=lambda rng: rng.randint(low * 4, high * 4) / 4,
    )


def _str(one: str, plural: str, words: list[str], *domain: str) -> Element:
    return Element(
        one=one, plural=plural, type=parse("str"), domain=domain, words=tuple(words), draw=lambda rng: rng.choice(words)
    )


def _atom(one: str, plural: str, names: str, *domain: str) -> Element:
    words = names.split()
    return Element(
        one=one,
        plural=plural,
        type=parse("atom"),
        words=tuple(words),
        domain=domain,
        draw=lambda rng: Name(rng.choice(words)),
    )


def _bool(one: str) -> Element:
    return Element(one=one, plural=f"{one} flags", type=parse("bool"), draw=lambda rng: rng.random() < 0.5)


def _date(one: str, plural: str, *domain: str) -> Element:
    first = datetime.date(2023, 1, 1)
    return Element(
        one=one,
        plural=plural,
        type=parse("date"),
        domain=domain,
        draw=lambda rng: first + datetime.timedelta(days=rng.randint(0, 720)),
    )


def _named(element: Element, one: str, plural: str) -> Element:
    return replace(element, one=one, plural=plural)


def _record(one: str, plural: str, fields: list[Element], *domain: str) -> Element:
    def draw(rng: random.Random) -> dict[Name, Any]:
        return {Name(field.one): field.draw(rng) for field in fields}

    return Element(one=one, plural=plural, type=Type(one), fields=tuple(fields), domain=domain, draw=draw)


def pair_of(one: str, plural: str, first: Element, second: Element, *domain: str) -> Element:
    """Two-element tuples."""
    return Element(
        one=one,
        plural=plural,
        type=Type("tuple", (first.type, second.type)),
        fields=(first, second),
        domain=domain,
        draw=lambda rng: (first.draw(rng), second.draw(rng)),
    )


INTS = (
    _int("score", "scores", 0, 100, "Scores", "Leaderboard", "Game.Scores", "Quiz"),
    _int("temperature", "temperatures", -20, 40, "Weather", "Thermometer", "Climate.Readings"),
    _int("age", "ages", 0, 99, "Census", "Ages", "Survey.Ages"),
    _int("price", "prices", 1, 500, "Prices", "Shop.Prices", "Catalog"),
    _int("quantity", "quantities", 0, 60, "Stock", "Warehouse", "Inventory.Counts"),
    _int("duration", "durations", 1, 300, "Durations", "Timing", "Tracker.Durations"),
    _int("reading", "readings", -50, 50, "Sensor", "Sensors.Readings", "Telemetry"),
    _int("vote", "votes", 0, 900, "Votes", "Poll", "Election.Votes"),
    _int("distance", "distances", 1, 420, "Distances", "Route", "Trip.Distances"),
    _int("balance", "balances", -200, 900, "Balances", "Bank.Balances", "Ledger"),
    _int("latency", "latencies", 1, 900, "Latency", "Monitor.Latency", "Metrics"),
    _int("number", "numbers", -12, 30, "Numbers", "MyMath", "NumberTools", "ListMath", "Calc"),
    _int("level", "levels", 1, 40, "Levels", "Game.Levels"),
    _int("salary", "salaries", 900, 9000, "Payroll", "Salaries"),
    _int("step", "steps", 0, 20000, "Pedometer", "Fitness.Steps"),
    _int("delta", "deltas", -9, 9, "Deltas", "Changes"),
    _int("year", "years", 1900, 2030, "Years", "History"),
    _int("size", "sizes", 0, 4096, "Sizes", "Storage.Sizes"),
    _int("point", "points", 0, 50, "Points", "Arcade"),
    _int("offset", "offsets", -30, 30, "Offsets", "Geometry.Offsets"),
)
FLOATS = (
    _float("weight", "weights", 0, 90, "Weights", "Scale"),
    _float("amount", "amounts", -50, 400, "Amounts", "Money.Amounts", "Accounting"),
    _float("ratio", "ratios", 0, 2, "Ratios", "Stats.Ratios"),
    _float("rating", "ratings", 0, 5, "Ratings", "Reviews"),
    _float("sample", "samples", -10, 10, "Samples", "Signal"),
    _float("height", "heights", 1, 3, "Heights", "Measurements"),
)
STRINGS = (
    _str("name", "names", [*_FIRST, "ana", "Al"], "Names", "Guests", "Directory", "Roster"),
    _str("word", "words", [*_WORDS, "Level", ""], "Words", "Vocabulary", "Text.Words", "WordTools"),
    _str("city", "cities", _CITIES, "Cities", "Atlas", "Travel.Cities"),
    _str("tag", "tags", [*_TAGS, "Elixir", "API"], "Tags", "Blog.Tags", "Tagging"),
    _str("title", "titles", _TITLES, "Titles", "Library.Titles"),
    _str("line", "lines", _LINES, "Lines", "LogLines", "Logs.Reader", "LogTools"),
    _str("file", "files", _FILES, "Files", "Paths", "FileNames"),
    _str("email", "emails", _MAILS, "Emails", "Mailing", "Contacts.Emails"),
    _str("code", "codes", _CODES, "Codes", "Catalog.Codes", "Barcodes"),
    _str("color", "colors", _COLOURS, "Colors", "Palette"),
    _str("ingredient", "ingredients", _FOOD, "Ingredients", "Recipe", "Kitchen.Pantry"),
    _str("sentence", "sentences", _SENTENCES, "Sentences", "Text.Sentences"),
    _str("country", "countries", _COUNTRIES, "Countries", "World"),
)
TEXTS = (
    _str("text", "texts", _SENTENCES, "Text", "TextTools", "StringKit", "Strings", "Editor.Text"),
    _str("sentence", "sentences", _SENTENCES, "Sentence", "Prose", "Language"),
    _str("title", "titles", [*_TITLES, "mixed Case title"], "Title", "Headline", "Blog.Title"),
    _str("message", "messages", [*_SENTENCES, *_LINES], "Message", "Chat.Message", "Inbox"),
    _str("line", "lines", [*_LINES, "name=ana;age=31"], "Line", "LogLine", "Logs.Line"),
    _str("name", "names", [f"{a} {b}" for a, b in zip(_FIRST, _LAST)], "Name", "Person.Name", "Profile"),
    _str("word", "words", [*_WORDS, "Level", "banana", "Mississippi", ""], "Word", "WordGame", "Letters"),
    _str("path", "paths", _FILES, "FilePath", "PathName"),
    _str("code", "codes", _CODES, "ProductCode", "Sku", "Article"),
    _str("input", "inputs", [*_SENTENCES, "42", "3,1,2", "a,b,,c"], "Input", "Parser", "Form.Input"),
)
NUMBERS = (
    _int("number", "numbers", -40, 400, "Number", "MyMath", "NumberKit", "Arithmetic", "Maths"),
    _int("amount", "amounts", 0, 5000, "Amount", "Money", "Cents"),
    _int("count", "counts", 1, 60, "Counter", "Counting"),
    _int("n", "numbers", 0, 40, "Integers", "Sequence", "NumberTheory", "Digits"),
    _int("seconds", "seconds", 0, 9000, "Clock", "Durations", "Stopwatch"),
    _int("year", "years", 1890, 2040, "Year", "Almanac"),
    _int("value", "values", -100, 1000, "Value", "Limits"),
)
ATOMS = (
    _atom("status", "statuses", "pending paid shipped cancelled", "Statuses", "Order.Statuses"),
    _atom("role", "roles", "admin editor viewer guest", "Roles", "Access.Roles"),
    _atom("event", "events", "start stop pause resume error", "Events", "Machine.Events"),
    _atom("suit", "suits", "clubs diamonds hearts spades", "Suits", "Cards"),
    _atom("direction", "directions", "north east south west", "Directions", "Robot.Moves"),
)

_name = _str("name", "names", _FIRST)
_id = _int("id", "ids", 1, 99)
RECORDS = (
    _record(
        "order",
        "orders",
        [_id, _str("customer", "customers", _FIRST), _int("total", "totals", 0, 500), ATOMS[0]],
        "Orders",
        "Shop.Orders",
        "OrderReport",
        "Sales",
    ),
    _record(
        "user",
        "users",
        [_name, _int("age", "ages", 10, 90), _atom("role", "roles", "admin editor viewer guest"), _bool("active")],
        "Users",
        "Accounts",
        "Accounts.Users",
        "Members",
    ),
    _record(
        "product",
        "products",
        [
            _name_ := _str("name", "names", _WORDS),
            _int("price", "prices", 1, 300),
            _int("stock", "stock levels", 0, 40),
            _atom("category", "categories", "toys books tools food"),
        ],
        "Products",
        "Catalog",
        "Shop.Catalog",
        "Inventory",
    ),
    _record(
        "employee",
        "employees",
        [
            _name,
            _str("department", "departments", ["Sales", "IT", "Legal", "Support"]),
            _int("salary", "salaries", 1800, 9000),
            _int("years", "years of service", 0, 30),
        ],
        "Employees",
        "HR",
        "Company.Staff",
        "Payroll",
    ),
    _record(
        "book",
        "books",
        [
            _str("title", "titles", _TITLES),
            _str("author", "authors", _LAST),
            _int("year", "years", 1950, 2024),
            _int("pages", "page counts", 60, 900),
        ],
        "Books",
        "Library",
        "Bookshelf",
        "Reading.List",
    ),
    _record(
        "player",
        "players",
        [
            _name,
            _int("score", "scores", 0, 120),
            _int("level", "levels", 1, 30),
            _atom("team", "teams", "red blue green"),
        ],
        "Players",
        "Game.Players",
        "Tournament",
        "Ranking",
    ),
    _record(
        "ticket",
        "tickets",
        [
            _id,
            _str("title", "titles", ["Login fails", "Typo on page", "Slow search", "Crash on save", "Add export"]),
            _int("priority", "priorities", 1, 5),
            _atom("status", "statuses", "open closed blocked"),
        ],
        "Tickets",
        "Support.Tickets",
        "Helpdesk",
        "Issues",
    ),
    _record(
        "reading",
        "readings",
        [
            _str("sensor", "sensors", ["roof", "cellar", "garage", "attic"]),
            _int("value", "values", -30, 60),
            _bool("valid"),
        ],
        "Readings",
        "Sensors",
        "Telemetry.Readings",
        "Monitor",
    ),
    _record(
        "song",
        "songs",
        [
            _str("title", "titles", _TITLES),
            _str("artist", "artists", _LAST),
            _int("seconds", "lengths", 60, 600),
            _atom("genre", "genres", "jazz rock folk pop"),
        ],
        "Songs",
        "Playlist",
        "Music.Library",
        "Radio",
    ),
    _record(
        "invoice",
        "invoices",
        [_id, _int("amount", "amounts", 10, 2000), _bool("paid"), _date("due", "due dates")],
        "Invoices",
        "Billing",
        "Billing.Invoices",
        "Finance",
    ),
    _record(
        "student",
        "students",
        [_name, _int("grade", "grades", 1, 12), _int("points", "points", 0, 100)],
        "Students",
        "School",
        "School.Grades",
        "Classroom",
    ),
    _record(
        "city",
        "cities",
        [
            _str("name", "names", _CITIES),
            _str("country", "countries", _COUNTRIES),
            _int("population", "populations", 1000, 9_000_000),
        ],
        "Cities",
        "Geo",
        "Atlas.Cities",
    ),
    _record(
        "task",
        "tasks",
        [
            _str("title", "titles", ["Write docs", "Fix bug", "Review", "Deploy", "Plan sprint"]),
            _int("effort", "efforts", 1, 13),
            _bool("done"),
            _atom("owner", "owners", "ana ben mia"),
        ],
        "Tasks",
        "Todo",
        "Planner",
        "Board.Tasks",
    ),
    _record(
        "flight",
        "flights",
        [
            _str("number", "numbers", ["LX12", "SK404", "TP77", "LH1"]),
            _str("destination", "destinations", _CITIES),
            _int("delay", "delays", 0, 180),
            _int("seats", "seat counts", 40, 300),
        ],
        "Flights",
        "Airport",
        "Travel.Flights",
    ),
    _record(
        "payment",
        "payments",
        [
            _id,
            _int("amount", "amounts", 1, 900),
            _atom("currency", "currencies", "eur usd chf"),
            _date("date", "dates"),
        ],
        "Payments",
        "Bank.Payments",
        "Treasury",
    ),
    _record(
        "item",
        "items",
        [_str("sku", "SKUs", _CODES), _int("quantity", "quantities", 0, 25), _int("price", "prices", 1, 90)],
        "Cart",
        "Basket",
        "Checkout",
        "Warehouse.Items",
    ),
    _record(
        "movie",
        "movies",
        [_str("title", "titles", _TITLES), _int("year", "years", 1960, 2024), _float("rating", "ratings", 1, 10)],
        "Movies",
        "Cinema",
        "FilmClub",
    ),
    _record(
        "request",
        "requests",
        [
            _str("path", "paths", ["/", "/login", "/users", "/orders", "/health"]),
            _int("status", "statuses", 200, 504),
            _int("duration", "durations", 1, 900),
        ],
        "Requests",
        "AccessLog",
        "Web.Requests",
    ),
    _record(
        "match",
        "matches",
        [_str("home", "home teams", _CITIES), _str("away", "away teams", _CITIES), _int("goals", "goal counts", 0, 9)],
        "Matches",
        "League",
        "Season",
    ),
    _record(
        "vertex",
        "vertices",
        [_id, _int("weight", "weights", 0, 40), _bool("visited")],
        "Nodes",
        "Graph.Nodes",
        "Network",
    ),
)
PAIRS = (
    pair_of("player", "players", _name, _int("score", "scores", 0, 100), "Scoreboard", "Game.Ranking"),
    pair_of(
        "item", "items", _str("item", "items", _WORDS), _int("quantity", "quantities", 0, 40), "Inventory", "Shelf"
    ),
    pair_of(
        "city",
        "cities",
        _str("city", "cities", _CITIES),
        _int("temperature", "temperatures", -20, 40),
        "Weather",
        "Forecast",
    ),
    pair_of(
        "entry",
        "entries",
        _atom("category", "categories", "food rent travel fun"),
        _int("amount", "amounts", 1, 500),
        "Expenses",
        "Budget",
        "Ledger.Entries",
    ),
    pair_of(
        "point",
        "points",
        _int("x", "x coordinates", -9, 9),
        _int("y", "y coordinates", -9, 9),
        "Points",
        "Geometry",
        "Grid",
    ),
    pair_of(
        "edge",
        "edges",
        _atom("source", "sources", "a b c d e"),
        _atom("target", "targets", "a b c d e"),
        "Edges",
        "Graph",
    ),
    pair_of(
        "rating", "ratings", _str("title", "titles", _TITLES), _float("score", "scores", 0, 5), "Ratings", "Reviews"
    ),
    pair_of("word", "words", _str("word", "words", _WORDS), _int("count", "counts", 1, 30), "WordCount", "Index"),
)
DATES = (
    _date("date", "dates", "Dates", "Schedule", "Agenda"),
    _date("deadline", "deadlines", "Deadlines", "Planner.Deadlines"),
    _date("birthday", "birthdays", "Birthdays", "People.Birthdays"),
)
