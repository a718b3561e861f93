"""`steelyard config-reference`: every field of the configuration, for people and for editors."""

from collections.abc import Mapping
from pathlib import Path

import click

PAGE = Path("docs/reference/configuration.md")
SCHEMA_FOLDER = Path("configs/schema")


@click.command("config-reference")
@click.option(
    "--schema",
    type=click.Choice(["gateway", "models"]),
    help="Print the JSON Schema of a configuration, or of a catalogue, instead.",
)
@click.option("--write", is_flag=True, help="Write the page and the schemas of this checkout.")
def config_reference(*, schema: str | None, write: bool) -> None:
    """Print what every field of the configuration means, its unit and its default."""
    from app.config.reference import reference_page, schema_text  # noqa: PLC0415

    if not write:
        click.echo(reference_page() if schema is None else schema_text(schema), nl=False)
        return
    if not PAGE.parent.parent.is_dir():
        raise click.UsageError(f"--write is for a checkout; there is no {PAGE.parent.parent} here")
    for file, text in generated().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        click.echo(f"wrote {file}")


def generated() -> Mapping[Path, str]:
    """Return every file that is made from the fields, relative to the checkout."""
    from app.config.reference import SCHEMAS, reference_page, schema_text  # noqa: PLC0415

    schemas = {SCHEMA_FOLDER / f"{name}.schema.json": schema_text(name) for name in SCHEMAS}
    return {PAGE: reference_page(), **schemas}
