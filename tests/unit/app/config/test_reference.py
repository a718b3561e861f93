"""Every field is described, bounded and in the reference; what is shipped fits the schemas."""

import datetime as dt
import json
import re
from enum import StrEnum

import jsonschema_rs
import pytest

from app.cli import main
from app.commands.reference import PAGE, generated
from app.config import Catalogue, GatewayConfig
from app.config.described import meanings_of, parts_of
from app.config.expected import annotations_of, bounds_of, without_none
from app.config.reference import SCHEMAS, reference_page, schema_text
from tests.support.gateway import CONFIGS, REPOSITORY, read_yaml

PARTS = [*parts_of(GatewayConfig), *parts_of(Catalogue)]
SHIPPED = [
    *((file, "gateway") for file in sorted(CONFIGS.glob("gateway*.yaml"))),
    (CONFIGS / "k8s" / "gateway.yaml", "gateway"),
    (CONFIGS / "models.yaml", "models"),
]


@pytest.mark.parametrize("file", generated(), ids=str)
def test_what_is_generated_is_up_to_date(file):
    committed = (REPOSITORY / file).read_text(encoding="utf-8")
    assert committed == generated()[file], "`make reference` writes it anew"


@pytest.mark.parametrize(("place", "part"), PARTS, ids=[place or "top" for place, _ in PARTS])
def test_every_field_says_what_it_means(place, part):
    missing = annotations_of(part).keys() - meanings_of(part).keys()
    assert not missing, "write a text below each of them"
    assert part.__doc__


@pytest.mark.parametrize(("place", "part"), PARTS, ids=[place or "top" for place, _ in PARTS])
def test_every_number_has_both_bounds(place, part):
    for name, annotation in annotations_of(part).items():
        for each in without_none(annotation):
            metadata = getattr(each, "__metadata__", ())
            bare = each.__origin__ if metadata else each
            if bare in (int, float):
                bounds = bounds_of(metadata)
                assert {"ge", "gt"} & bounds.keys(), f"{place}.{name} has no lower bound"
                assert {"le", "lt"} & bounds.keys(), f"{place}.{name} has no upper bound"
                assert bare is int or "allow_inf_nan=False" in repr(metadata), f"{place}.{name}"


def plain(value):
    """Return a document as JSON has it."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.isoformat() if isinstance(value, dt.date) else value


@pytest.fixture(scope="module")
def validators():
    return {name: jsonschema_rs.validator_for(json.loads(schema_text(name))) for name in SCHEMAS}


@pytest.mark.parametrize(("file", "name"), SHIPPED, ids=lambda each: getattr(each, "name", each))
def test_what_is_shipped_fits_the_schema(validators, file, name):
    document = plain(read_yaml(file))
    assert [each.message for each in validators[name].iter_errors(document)] == []


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("server", {"keep_alive_s": "5s"}),
        ("server", {"keep_alive": 5}),
        ("server", {"port": 70_000}),
        ("policies", {"default": {}}),
        ("polices", {}),
        ("auth", {"mode": "key"}),
    ],
)
def test_the_schema_finds_what_check_config_finds(validators, section, value):
    document = read_yaml(CONFIGS / "gateway.yaml")
    assert validators["gateway"].is_valid(document)
    assert not validators["gateway"].is_valid({**document, section: value})


def test_editors_are_told_what_a_field_means_and_its_unit():
    properties = json.loads(schema_text("gateway"))["$defs"]["ServerConfig"]["properties"]
    assert properties["keep_alive_s"]["description"].endswith("In seconds.")


def test_every_link_within_the_page_leads_somewhere():
    page = reference_page()
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^\w-]", "", each.lower().replace(" ", "-")) for each in headings}
    assert len(anchors) == len(headings)
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= anchors
    for other in re.findall(r"\]\((\.\.[^)]*)\)", page):
        assert (REPOSITORY / PAGE.parent / other).exists()


def test_values_of_choices_are_named_in_the_page():
    page = reference_page()
    for _, part in PARTS:
        for annotation in annotations_of(part).values():
            for each in without_none(annotation):
                if isinstance(each, type) and issubclass(each, StrEnum):
                    assert ", ".join(each) in page


def test_the_command_prints_the_page_and_each_schema(capsys):
    main(["config-reference"])
    assert capsys.readouterr().out == reference_page()
    main(["config-reference", "--schema", "models"])
    assert capsys.readouterr().out == schema_text("models")
