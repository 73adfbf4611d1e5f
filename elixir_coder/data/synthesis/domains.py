"""What exercises are about: things with fields and sample values, so that the same idea is met in many trades.

    order = draw_entity(rng)
    order.module, order.singular, order.amount.name, order.record(rng)

A value is Python's; `literal` of writing.py writes it in Elixir. Nothing here is taken from a real data set.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any


class Atom(str):
    """A word that Elixir writes as `:word`."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field of a thing. type: as a typespec writes it. values: samples, no two alike; low, high: of a number."""

    name: str
    type: str
    values: tuple[Any, ...] = ()
    low: int = 0
    high: int = 0

    def draw(self, rng: random.Random) -> Any:
        return rng.choice(self.values) if self.values else rng.randint(self.low, self.high)

    def draw_many(self, rng: random.Random, count: int) -> list[Any]:
        """That many values, no two alike."""
        if self.values:
            return rng.sample(self.values, count)
        return rng.sample(range(self.low, self.high + 1), count)


@dataclass(frozen=True, kw_only=True)
class Entity:
    """A thing that programs are about.

    context: the part of an application it belongs to. label: a text that tells one from another. amount: a whole
    number, `unit` of something. kind: a few atoms. flag: true or false. owner: a text that several may share.
    verb: what is done to it, in the base form.
    """

    singular: str
    plural: str
    context: str
    label: Field
    amount: Field
    unit: str
    kind: Field
    flag: Field
    owner: Field
    verb: str

    @property
    def module(self) -> str:
        """`order_line` as `OrderLine`."""
        return camel(self.singular)

    @property
    def plural_module(self) -> str:
        return camel(self.plural)

    @property
    def fields(self) -> tuple[Field, ...]:
        return (self.label, self.amount, self.kind, self.flag, self.owner)

    def record(self, rng: random.Random, **given: Any) -> dict[str, Any]:
        """One of them, by the names of its fields."""
        return {field.name: given.get(field.name, field.draw(rng)) for field in self.fields}

    def records(self, rng: random.Random, count: int) -> list[dict[str, Any]]:
        """Several, with different labels and amounts."""
        labels, amounts = self.label.draw_many(rng, count), self.amount.draw_many(rng, count)
        return [
            self.record(rng, **{self.label.name: label, self.amount.name: amount})
            for label, amount in zip(labels, amounts)
        ]


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


_PEOPLE = (
    "Ada",
    "Bo",
    "Chen",
    "Dana",
    "Eli",
    "Fay",
    "Gus",
    "Hana",
    "Ivo",
    "Jun",
    "Kim",
    "Lena",
    "Mats",
    "Noor",
    "Olga",
)
_CITIES = ("Oslo", "Lima", "Quito", "Turin", "Cairo", "Perth", "Kyoto", "Accra", "Delhi", "Porto", "Riga", "Lagos")
_TEAMS = ("north", "south", "east", "west", "central", "harbour", "valley", "hill")


def _thing(
    names: str,
    context: str,
    label: str,
    labels: str,
    amount: str,
    low: int,
    high: int,
    unit: str,
    kind: str,
    kinds: str,
    flag: str,
    owner: str,
    owners: tuple[str, ...],
    verb: str,
) -> Entity:
    singular, plural = names.split("/")
    return Entity(
        singular=singular,
        plural=plural,
        context=context,
        label=Field(name=label, type="String.t()", values=tuple(labels.split(","))),
        amount=Field(name=amount, type="non_neg_integer()", low=low, high=high),
        unit=unit,
        kind=Field(name=kind, type="atom()", values=tuple(map(Atom, kinds.split()))),
        flag=Field(name=flag, type="boolean()", values=(True, False)),
        owner=Field(name=owner, type="String.t()", values=owners),
        verb=verb,
    )


# fmt: off
ENTITIES: tuple[Entity, ...] = (
    _thing("order/orders", "Shop", "code", "A-100,A-101,B-200,B-207,C-300,C-311,D-404", "total", 5, 900, "cents",
           "status", "pending paid shipped cancelled", "gift", "customer", _PEOPLE, "ship"),
    _thing("product/products", "Catalog", "sku", "mug,lamp,desk,chair,rug,vase,clock,bowl", "price", 3, 400, "cents",
           "category", "kitchen office garden toys", "in_stock", "supplier", _CITIES, "list"),
    _thing("invoice/invoices", "Billing", "number", "2024-001,2024-002,2024-007,2024-012,2024-020,2024-033",
           "amount", 10, 5000, "cents", "state", "draft sent paid overdue", "disputed", "client", _PEOPLE, "send"),
    _thing("account/accounts", "Bank", "iban", "DE01,DE02,FR17,FR20,NO33,NO41,SE55", "balance", 0, 9000, "cents",
           "type", "checking savings business", "frozen", "holder", _PEOPLE, "close"),
    _thing("ticket/tickets", "Support", "subject", "login fails,slow page,lost mail,bad link,no sound,crash", "age",
           0, 90, "days", "priority", "low normal high urgent", "open", "assignee", _PEOPLE, "answer"),
    _thing("sensor/sensors", "Telemetry", "id", "s-1,s-2,s-3,s-7,s-9,s-12,s-15", "reading", 0, 120, "degrees",
           "mode", "idle active faulty", "calibrated", "site", _CITIES, "poll"),
    _thing("book/books", "Library", "title", "Dune,Emma,Ulysses,Beloved,Hamlet,Walden,Persuasion,Kim", "pages", 40, 900,
           "pages", "genre", "fiction poetry history science", "borrowed", "author", _PEOPLE, "borrow"),
    _thing("song/songs", "Music", "title", "Blue,Rain,Home,Stars,River,Dust,Echo,Gold", "seconds", 60, 600, "seconds",
           "genre", "jazz folk rock ambient", "explicit", "artist", _PEOPLE, "play"),
    _thing("patient/patients", "Clinic", "chart", "P-10,P-11,P-18,P-23,P-30,P-42,P-57", "age", 1, 99, "years", "ward",
           "surgery pediatrics cardiology general", "insured", "doctor", _PEOPLE, "admit"),
    _thing("flight/flights", "Airport", "code", "LH10,LH22,AF31,AF77,KL05,KL64,SK90", "delay", 0, 240, "minutes",
           "status", "boarding departed landed cancelled", "international", "gate", ("A1", "A2", "B4", "C9"), "board"),
    _thing("parcel/parcels", "Delivery", "tracking", "TX1,TX2,TX5,TX8,TX13,TX21,TX34", "weight", 1, 60, "kilograms",
           "state", "queued transit delivered returned", "fragile", "city", _CITIES, "deliver"),
    _thing("employee/employees", "Payroll", "name", "Ana,Ben,Cleo,Dirk,Eva,Finn,Gita", "salary", 1000, 9000, "euros",
           "department", "sales design support research", "remote", "office", _CITIES, "hire"),
    _thing("student/students", "School", "name", "Abe,Bea,Cid,Dot,Edo,Flo,Gil,Hal", "score", 0, 100, "points", "grade",
           "first second third fourth", "enrolled", "tutor", _PEOPLE, "grade"),
    _thing("player/players", "Arena", "nick", "fox,owl,bear,wolf,lynx,crow,hare", "score", 0, 5000, "points", "rank",
           "bronze silver gold platinum", "online", "team", _TEAMS, "promote"),
    _thing("room/rooms", "Hotel", "door", "101,102,115,203,210,307,312,404", "rate", 40, 600, "euros", "size",
           "single double suite", "occupied", "wing", _TEAMS, "book"),
    _thing("recipe/recipes", "Kitchen", "name", "soup,stew,pie,curry,salad,tart,risotto,ramen", "minutes", 5, 240,
           "minutes", "course", "starter main dessert snack", "vegan", "cook", _PEOPLE, "cook"),
    _thing("vehicle/vehicles", "Fleet", "plate", "AB-1,AB-2,CD-3,CD-9,EF-4,GH-7", "mileage", 0, 90000, "kilometres",
           "fuel", "petrol diesel electric", "rented", "depot", _CITIES, "rent"),
    _thing("task/tasks", "Planner", "title", "paint,mow,write,clean,call,sort,pack", "effort", 1, 40, "hours",
           "status", "todo doing done blocked", "urgent", "owner", _PEOPLE, "finish"),
    _thing("event/events", "Calendar", "title", "standup,retro,demo,lunch,review,workshop", "duration", 5, 480,
           "minutes", "kind", "meeting call focus travel", "private", "host", _PEOPLE, "schedule"),
    _thing("device/devices", "Network", "mac", "aa:01,aa:02,bb:07,bb:11,cc:20,cc:31,dd:44", "traffic", 0, 8000,
           "kilobytes", "type", "router switch camera printer", "trusted", "zone", _TEAMS, "scan"),
    _thing("message/messages", "Chat", "text", "hi,hello,bye,thanks,later,okay,welcome,sorry", "size", 1, 500, "bytes",
           "channel", "general random support news", "read", "sender", _PEOPLE, "send"),
    _thing("photo/photos", "Gallery", "file", "a.png,b.png,sea.jpg,sky.jpg,cat.gif,dog.gif,me.png", "width", 100, 4000,
           "pixels", "format", "png jpeg gif", "public", "album", _CITIES, "publish"),
    _thing("build/builds", "Pipeline", "branch", "main,dev,fix-1,fix-2,release,docs,spike", "duration", 10, 3600,
           "seconds", "result", "passed failed skipped", "cached", "runner", _TEAMS, "start"),
    _thing("crop/crops", "Farm", "name", "barley,oats,beans,maize,flax,rye,hops,kale", "yield", 10, 900, "tonnes",
           "season", "spring summer autumn", "organic", "field", _TEAMS, "harvest"),
    _thing("membership/memberships", "Gym", "card", "G1,G2,G4,G8,G16,G32,G64", "visits", 0, 300, "visits", "plan",
           "basic plus family", "active", "member", _PEOPLE, "renew"),
    _thing("auction/auctions", "Market", "lot", "L1,L2,L3,L5,L8,L13,L21", "bid", 1, 7000, "euros", "phase",
           "upcoming running closed", "reserved", "seller", _PEOPLE, "close"),
    _thing("station/stations", "Weather", "code", "ws1,ws2,ws4,ws5,ws7,ws9,ws11", "rainfall", 0, 300, "millimetres",
           "terrain", "coast plain mountain", "automatic", "region", _TEAMS, "measure"),
    _thing("shift/shifts", "Roster", "label", "early,late,night,morning,evening,split,noon", "hours", 1, 12, "hours",
           "role", "nurse guard driver clerk", "paid", "worker", _PEOPLE, "assign"),
    _thing("article/articles", "Press", "slug", "rain,vote,match,trade,opera,harvest,storm", "words", 50, 4000, "words",
           "section", "politics sports culture science", "published", "editor", _PEOPLE, "publish"),
    _thing("tree/trees", "Forest", "tag", "t1,t2,t3,t5,t8,t13,t21", "height", 1, 60, "metres", "species",
           "oak birch pine maple", "protected", "plot", _TEAMS, "plant"),
    _thing("container/containers", "Harbor", "serial", "CX1,CX4,CX9,CY2,CY6,CZ3,CZ8", "load", 0, 30000, "kilograms",
           "cargo", "food steel textiles chemicals", "sealed", "ship", _CITIES, "load"),
    _thing("subscription/subscriptions", "Media", "email", "a@x.io,b@x.io,c@y.io,d@y.io,e@z.io,f@z.io", "months", 1, 48,
           "months", "plan", "free standard premium", "renewing", "country", _CITIES, "cancel"),
)
# fmt: on

#: Words for things that are only counted, queued or stored.
NOUNS: tuple[str, ...] = tuple(
    (
        "visit click job word vote token coin badge page seat alarm draft packet signal lead crate card chip bolt "
        "stamp hit scan login upload download retry request sample point tile move guest bike letter beacon spare note"
    ).split()
)

#: Keys for stores, caches and registries: atoms or texts that stand for nothing in particular.
KEYS: tuple[str, ...] = tuple(
    "alpha beta gamma delta omega north south red blue green lemon mint basil iron zinc".split()
)

#: Names for parts of applications, as the first part of a module's name.
CONTEXTS: tuple[str, ...] = tuple(
    "Shop Depot Studio Atlas Harbor Orbit Ledger Garden Signal Metro Beacon Quarry Lumen Rover Campus Summit".split()
)


def draw_entity(rng: random.Random) -> Entity:
    return rng.choice(ENTITIES)
