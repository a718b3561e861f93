"""Whatever is wrong with an artifact: one sentence, and neither memory nor time is spent on it."""

import hashlib
import io
import json
import os
import random
import shutil
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from routers.artifact.load import load_artifact
from routers.artifact.manifest import MAX_MANIFEST_BYTES, digest_of
from routers.errors import ArtifactError
from routers.training.fit import fit
from routers.training.recipe import EmbedderRecipe, Recipe
from routers.types import Conversation
from tests.support.outcomes import write_outcomes

RECIPE = Recipe(
    embedder=EmbedderRecipe(kind="hashing", options={"dimensions": 16}),
    blocks=("embedding", "lexical", "terms"),
    options={"quality_head": {"kind": "linear"}},
    calibration_folds=2,
)
PROMPT = [Conversation.of("Write a poem about the river 7 under the moon 12.")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact")
    data = write_outcomes(folder / "data.parquet", n=120)
    fit([data], folder / "router", recipe=RECIPE, created_at="now", steelyard_version="0")
    return folder / "router"


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "router")


def refused(folder, match="."):
    with pytest.raises(ArtifactError, match=match) as error:
        load_artifact(folder)
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 1000
    return text


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def sign(folder, manifest):
    """Write a manifest as someone would who knows how digests are made."""
    manifest["digest"] = digest_of(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def seal(folder, weights, change=dict.copy):
    """Put an archive in place and make the manifest agree with its bytes."""
    (folder / "weights.npz").write_bytes(weights)
    manifest = manifest_of(folder)
    manifest["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    change(manifest)
    sign(folder, manifest)


def members(folder):
    with zipfile.ZipFile(folder / "weights.npz") as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def pack(content, *, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def npy(array, **kwargs):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **kwargs)
    return buffer.getvalue()


def replace_array(folder, name, array):
    content = members(folder)
    content[f"{name}.npy"] = npy(array)

    def announce(manifest):
        manifest["arrays"][name] = {"dtype": array.dtype.str, "shape": list(array.shape)}

    seal(folder, pack(content, compression=zipfile.ZIP_STORED), announce)


# --- the archive ----------------------------------------------------------------------------------

FACTOR = "router/factor.npy"


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"no array at all",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x09\x00" + bytes(118) + bytes(8),
        npy(np.zeros((2, 4), np.float32))[:-1],
        npy(np.zeros(2, ">f4")),
        npy(np.asfortranarray(np.zeros((2, 2), np.float32))),
        npy(np.zeros(2, np.complex64)),
        npy(np.zeros(2, "S4")),
        npy(np.zeros(2, "datetime64[s]")),
        npy(np.zeros(2, [("a", "f4")])),
        npy(np.asarray([{"a": 1}, 2], dtype=object), allow_pickle=True),
    ],
)
def test_members_that_are_no_plain_arrays_are_refused(copy, member):
    seal(copy, pack(members(copy) | {FACTOR: member}))
    refused(copy, "plain arrays")


def test_a_header_that_is_code_is_not_even_parsed(copy):
    good = npy(np.zeros(2, np.float32))
    evil = b"{'descr': '<f4', 'fortran_order': __import__('os').abort(), 'shape': (2,), }"
    seal(copy, pack(members(copy) | {FACTOR: good[:10] + evil.ljust(118) + good[128:]}))
    refused(copy, "router/factor")


def test_types_that_the_manifest_announces_are_bounded_too(copy):
    for dtype in (
        "|O",
        "<U8",
        "<c8",
        ">f4",
        "<f16",
        "|V8",
        "<m8[s]",
        "[('a', '<f4')]",
        "x" * 10**6,
    ):
        manifest = manifest_of(copy)
        manifest["arrays"]["router/factor"]["dtype"] = dtype
        sign(copy, manifest)
        refused(copy, "plain arrays")


def test_damage_inside_a_member_is_told(copy):
    raw = bytearray((copy / "weights.npz").read_bytes())
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        info = max(archive.infolist(), key=lambda each: each.compress_size)
    at = info.header_offset + 30 + len(info.filename)
    for first, last in ((at, at + 40), (at + info.compress_size // 2, at + info.compress_size)):
        damaged = bytearray(raw)
        damaged[first:last] = bytes(255 - each for each in damaged[first:last])
        seal(copy, bytes(damaged))
        refused(copy, "plain arrays")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(copy, method):
    seal(copy, pack(members(copy), compression=method))
    refused(copy, "plain arrays")


def test_missing_further_and_repeated_members_are_refused(copy, trained):
    content = members(trained)
    factor = content.pop(FACTOR)
    seal(copy, pack(content))
    refused(copy, "different: router/factor")
    seal(copy, pack(content | {FACTOR: factor, "README.txt": b"hello"}))
    refused(copy, "README.txt")
    buffer = io.BytesIO(pack(content | {FACTOR: factor}))
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(FACTOR, factor)
    seal(copy, buffer.getvalue())
    refused(copy, "occurs twice")


def test_archives_that_lie_about_their_ends_are_refused(copy):
    raw = (copy / "weights.npz").read_bytes()
    end = len(raw) - 22
    zip64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2**40, 2**40, 2**40, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    for damaged in (
        raw[:-1],
        raw[:-22],
        raw[: len(raw) // 2],
        raw[:end] + zip64 + locator + raw[end:],
        raw[:end] + raw[end:][:-2] + b"\x01\x00x",
        raw[:end] + raw[end : end + 12] + b"\xff\xff\xff\x7f" + raw[end + 16 :],
        raw[:end] + raw[end : end + 16] + b"\xff\xff\xff\x7f" + raw[end + 20 :],
        b"PK\x05\x06" + bytes(18),
        b"",
    ):
        seal(copy, damaged)
        refused(copy)


def test_what_would_unpack_beyond_the_bounds_is_never_unpacked(copy):
    """A bomb: its members are honest, and so is the manifest."""
    zeros = npy(np.zeros(2**27, np.uint8))
    seal(
        copy,
        pack(members(copy) | {"router/bomb.npy": zeros}),
        lambda manifest: manifest["arrays"].update(
            {"router/bomb": {"dtype": "|u1", "shape": [2**27]}}
        ),
    )
    del zeros
    tracemalloc.start()
    refused(copy, "times its size")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_bomb_that_the_manifest_does_not_announce_is_never_unpacked(copy):
    zeros = npy(np.zeros(2**27, np.uint8))
    seal(copy, pack(members(copy) | {FACTOR: zeros}))
    del zeros
    tracemalloc.start()
    refused(copy, "router/factor")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize(
    "shape",
    [[10**12], [2**31, 2**31, 2**31, 2**31], [10**400], [-1], [2.0], "2", [[2]], [1] * 50, None],
)
def test_shapes_beyond_all_bounds_are_refused(copy, shape):
    manifest = manifest_of(copy)
    manifest["arrays"]["router/factor"]["shape"] = shape
    sign(copy, manifest)
    refused(copy)


# --- what the arrays hold -------------------------------------------------------------------------


def array_of(folder, name):
    with np.load(folder / "weights.npz") as archive:
        return archive[name]


def test_no_array_may_hold_what_is_no_number(copy, trained):
    with np.load(trained / "weights.npz") as archive:
        floats = [name for name in archive.files if archive[name].dtype.kind == "f"]
    assert len(floats) > 10
    for name in floats:
        array = array_of(trained, name)
        array.flat[-1] = np.nan
        replace_array(copy, name, array)
        refused(copy, "no number")
        replace_array(copy, name, array_of(trained, name))
    load_artifact(copy)
    for value in (np.inf, -np.inf):
        array.flat[-1] = value
        replace_array(copy, name, array)
        refused(copy, "infinite")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("calibration/input_tokens", lambda array: -array - 1),
        ("calibration/input_tokens", lambda array: array.astype(np.float32)),
        ("calibration/log_output_tokens", lambda array: -array - 1),
        ("calibration/quality_realised", lambda array: array.astype(np.float32)),
        ("calibration/quality_predicted", lambda array: array[:, :1]),
        ("calibration/quality_predicted", lambda array: array[:0]),
        ("router/factor", lambda array: array[:, None]),
        ("features/terms/terms", lambda array: array[: len(array) // 2]),
    ],
)
def test_arrays_that_cannot_be_are_refused(copy, name, change):
    replace_array(copy, name, np.ascontiguousarray(change(array_of(copy, name))))
    refused(copy)


def test_more_calibration_rows_than_are_ever_kept_are_refused(copy, trained):
    for name in members(trained):
        if name.startswith("calibration/"):
            array = array_of(trained, name.removesuffix(".npy"))
            replace_array(copy, name.removesuffix(".npy"), np.repeat(array, 40, axis=0))
    refused(copy, "calibration rows")


# --- the manifest ---------------------------------------------------------------------------------


def rewrite(folder, find, replacement):
    """Change the text of a manifest and sign it as far as it can be parsed."""
    text = (folder / "manifest.json").read_text()
    assert find in text
    (folder / "manifest.json").write_text(text.replace(find, replacement, 1))


@pytest.mark.parametrize(
    "notes",
    ["[" * 100_000, '{"a":' * 100_000, "NaN", "Infinity", "1e999", "9" * 5000, '{"a": 1, "a": 2}'],
)
def test_json_that_no_manifest_holds_is_refused(copy, notes):
    rewrite(copy, '"notes": {', f'"notes": {notes}, "more": {{')
    refused(copy, "not valid JSON|lacks or adds")


def test_text_that_is_no_text_is_refused(copy):
    rewrite(copy, '"notes": {', '"notes": {"a": "\\ud800", ')
    refused(copy, "surrogate")
    (copy / "manifest.json").write_bytes(b"\xff\xfe{\x00}\x00")
    refused(copy, "not valid JSON")
    (copy / "manifest.json").write_bytes(b"")
    refused(copy, "not valid JSON")


def test_a_manifest_has_a_size(copy):
    with (copy / "manifest.json").open("ab") as file:
        file.write(b" " * MAX_MANIFEST_BYTES)
    refused(copy, "larger than 4 MiB")


def set_at(manifest, path, value):
    *parents, last = path.split(".")
    for name in parents:
        manifest = manifest[name]
    manifest[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("prices.small.input_usd_per_mtok", -1),
        ("prices.small.output_usd_per_mtok", "free"),
        ("prices.small.output_usd_per_mtok", 10**400),
        ("prices.small.output_usd_per_mtok", True),
        ("prices.small.surcharge", 1),
        ("prices.small", None),
        ("prices", {}),
        ("prices", []),
        ("models", []),
        ("models", ["small", "small"]),
        ("models", ["small", None]),
        ("models", "small"),
        ("strategy", "carrot"),
        ("strategy.kind", ["carrot"]),
        ("strategy.kind", "os.system"),
        ("strategy.kind", "../../evil"),
        ("strategy.options", []),
        ("strategy.options", {"quality_head": {"kind": "routers.cli"}}),
        ("strategy.options", {"quality_head": 3}),
        ("features", []),
        ("features.embedder", "os"),
        ("features.embedder", {"kind": "hashing"}),
        ("features.embedder_options", {"dimensions": 10**12}),
        ("features.embedder_options", []),
        ("features.blocks", ["embedding"]),
        ("features.blocks", ["__class__"]),
        ("features.block_versions", [1]),
        ("knob", []),
        ("knob", [[0, 1], [1, 1e-3]]),
        ("knob", [[0, 1, 2]]),
        ("knob", [[0, 10**400], [1, 2]]),
        ("knob", "knob"),
        ("arrays", []),
        ("arrays", {}),
        ("onboarded", [{}]),
        ("onboarded", [{"model": "nobody"}]),
        ("onboarded", {"model": "small"}),
        ("recalibrated", []),
        ("recalibrated", {"guarantee": "yes"}),
        ("recalibrated", {"guarantee": {"strong": "a", "weak": "b", "threshold": "x"}}),
        ("seed", "0"),
        ("seed", 10**400),
        ("weights_sha256", 7),
        ("format", True),
        ("created_at", 2026),
    ],
)
def test_entries_that_say_something_else_are_refused(copy, path, value):
    manifest = manifest_of(copy)
    set_at(manifest, path, value)
    sign(copy, manifest)
    if (path, value) != ("seed", 10**400):  # nothing depends on it
        refused(copy)


def test_names_as_long_as_the_file_are_not_repeated_in_the_sentence(copy):
    manifest = manifest_of(copy)
    manifest["x" * 10**6] = "\x1b[2J\n"
    sign(copy, manifest)
    refused(copy, "lacks or adds")


# --- files that are none --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["manifest.json", "weights.npz"])
def test_folders_pipes_and_devices_are_refused_at_once(copy, name):
    (copy / name).unlink()
    (copy / name).mkdir()
    refused(copy, "directory")
    (copy / name).rmdir()
    os.mkfifo(copy / name)
    refused(copy, "no regular file")
    (copy / name).unlink()
    (copy / name).symlink_to("/dev/zero")
    refused(copy, "no regular file")
    (copy / name).unlink()
    (copy / name).symlink_to("nowhere")
    refused(copy, "No such file")


def test_a_file_in_place_of_the_folder_and_a_name_that_is_none(copy, tmp_path):
    refused(copy / "manifest.json", "is no artifact")
    refused(tmp_path / "a\0b", "is no artifact")


def test_links_to_an_artifact_are_followed(copy, tmp_path):
    (tmp_path / "current").symlink_to(copy)
    assert load_artifact(tmp_path / "current").models == ("small", "large")


# --- what an artifact names -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("embedder", "options", "named"),
    [
        ("sentence-transformers", {"model": "somebody/else"}, "somebody/else"),
        ("sentence-transformers", {"model": "./evil"}, "./evil"),
        ("static", {"path": "evil"}, "evil"),
    ],
)
def test_encoders_from_outside_need_the_trust_of_whoever_loads(copy, embedder, options, named):
    manifest = manifest_of(copy)
    manifest["features"] |= {"embedder": embedder, "embedder_options": options}
    sign(copy, manifest)
    assert named in refused(copy, "may run code")
    with pytest.raises(ArtifactError) as error:  # trusted, but neither installed nor there
        load_artifact(copy, trusted=[named])
    assert "may run code" not in str(error.value)


def test_trust_in_one_encoder_is_none_in_another(copy):
    manifest = manifest_of(copy)
    manifest["features"] |= {"embedder": "static", "embedder_options": {"path": "evil"}}
    sign(copy, manifest)
    with pytest.raises(ArtifactError, match="may run code"):
        load_artifact(copy, trusted=["evil2", "./evil"])


# --- anything at all ------------------------------------------------------------------------------


def test_any_damage_is_one_sentence_or_none_at_all(trained, copy):
    """Bytes flipped, cut, doubled and moved, in either file, with digests made right again."""
    rng = random.Random(7)
    expected = load_artifact(trained).predict_conversations(PROMPT)
    originals = {name: (trained / name).read_bytes() for name in ("manifest.json", "weights.npz")}
    n_refused = 0
    for _ in range(200):
        name = rng.choice(list(originals))
        for each, content in originals.items():
            (copy / each).write_bytes(content)
        damaged = mutated(originals[name], rng)
        (copy / name).write_bytes(damaged)
        if rng.random() < 0.7:
            resign(copy, damaged if name == "weights.npz" else None)
        try:
            artifact = load_artifact(copy)
        except ArtifactError:
            n_refused += 1
            continue
        found = artifact.predict_conversations(PROMPT)
        assert np.isfinite(found.quality).all()
        if artifact.version == load_artifact(trained).version:
            assert np.array_equal(found.quality, expected.quality)
    assert n_refused > 150


def mutated(content, rng):
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, length = rng.randrange(len(content)), rng.choice((1, 1, 4, 64))
        kind = rng.randrange(5)
        if kind == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            del content[at : at + length]
        elif kind == 3:
            content[at:at] = content[at : at + length]
        else:
            content[at:at] = b"\x00\xff\x7f-9[{\"'"[rng.randrange(9) :]
    return bytes(content)


def resign(folder, weights):
    try:
        manifest = manifest_of(folder)
        if weights is not None:
            manifest["weights_sha256"] = hashlib.sha256(weights).hexdigest()
        sign(folder, manifest)
    except (ValueError, TypeError, AttributeError):
        return  # no JSON any more: it stays unsigned
