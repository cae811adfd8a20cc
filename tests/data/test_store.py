"""The token store: what goes in comes out, and nothing half-written or damaged is taken for a whole one."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clozelm.data.store import StoreWriter, TokenStore
from clozelm.errors import DataError

IDENTITY = {"fingerprint": "0123456789abcdef", "vocab_size": 1000}


def fill(path: Path, lengths: list[int], *, shard_tokens: int = 2**26, vocab_size: int = 1000) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    made = [rng.integers(0, vocab_size, length, dtype=np.uint32) for length in lengths]
    with StoreWriter(
        path, fingerprint="0123456789abcdef", vocab_size=vocab_size, shard_tokens=shard_tokens
    ) as writer:
        for ids in made:
            writer.add(ids, (ids % 8).astype(np.uint8))
        writer.close()
    return made


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 30), max_size=20),
    shard_tokens=st.integers(1, 40),
    vocab_size=st.sampled_from([100, 65_536, 65_537]),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], shard_tokens: int, vocab_size: int
) -> None:
    path = tmp_path_factory.mktemp("store") / "s"
    made = fill(path, lengths, shard_tokens=shard_tokens, vocab_size=vocab_size)
    store = TokenStore.open(path)
    whole = np.concatenate([np.empty(0, np.uint32), *made])
    assert store.dtype == (np.uint16 if vocab_size <= 65_536 else np.uint32)
    assert (store.num_documents, store.num_tokens, store.vocab_size) == (len(lengths), len(whole), vocab_size)
    assert np.array_equal(np.diff(store.offsets), lengths)
    assert np.array_equal(store.tokens(0, len(whole)), whole)
    assert np.array_equal(store.flags(0, len(whole)), whole % 8)
    assert np.array_equal(store.unigram_counts(), np.bincount(whole, minlength=vocab_size))
    for index, expected in enumerate(made):
        ids, flags = store.document(index)
        assert np.array_equal(ids, expected)
        assert np.array_equal(flags, expected % 8)
    store.verify()


def test_documents_in_bulk_are_the_same_store(tmp_path: Path) -> None:
    lengths = [3, 0, 7, 12, 1, 0]
    made = fill(tmp_path / "one", lengths, shard_tokens=8)
    with StoreWriter(tmp_path / "many", shard_tokens=8, **IDENTITY) as writer:  # type: ignore[arg-type]
        joined = np.concatenate(made)
        writer.add_many(joined, (joined % 8).astype(np.uint8), np.array(lengths))
        writer.close()
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "many" / file.name).read_bytes(), file.name


def test_size_on_disk(tmp_path: Path) -> None:
    fill(tmp_path / "s", [25] * 4000)
    assert sum(f.stat().st_size for f in (tmp_path / "s").iterdir()) <= 3.2 * 100_000


def test_another_tokenizer_is_refused_naming_both(tmp_path: Path) -> None:
    fill(tmp_path / "s", [3])
    TokenStore.open(tmp_path / "s", SimpleNamespace(**IDENTITY))
    with pytest.raises(DataError, match="0123456789abcdef, not with fedcba"):
        TokenStore.open(tmp_path / "s", SimpleNamespace(fingerprint="fedcba", vocab_size=1000))


@pytest.mark.parametrize("name", ["tokens-00000.bin", "flags-00001.bin", "lengths.bin", "unigrams.bin"])
def test_truncated_and_missing_files_are_named(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "s", [5, 5, 5], shard_tokens=5)
    file = tmp_path / "s" / name
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(DataError, match=rf"{name} holds \d+ bytes, not the \d+"):
        TokenStore.open(tmp_path / "s")
    file.unlink()
    with pytest.raises(DataError, match=f"{name} is missing"):
        TokenStore.open(tmp_path / "s")


def test_other_formats_and_other_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        TokenStore.open(tmp_path / "missing")
    with pytest.raises(DataError, match="not a token store"):
        TokenStore.open(tmp_path)
    fill(tmp_path / "s", [3])
    manifest = tmp_path / "s/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 2}))
    with pytest.raises(DataError, match="format 2; this version reads 1"):
        TokenStore.open(tmp_path / "s")


SHARD = {"num_tokens": 5, "tokens_crc32": 0, "flags_crc32": 0}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            (key, value)
            for key in ("num_documents", "num_tokens", "lengths_crc32")
            for value in (None, -1, "3", 1.5)
        ),
        *(("tokenizer", value) for value in (None, [], {}, {"fingerprint": None, "vocab_size": 9})),
        ("tokenizer", {"fingerprint": "0123456789abcdef", "vocab_size": "many"}),
        *(("shards", value) for value in (None, {}, [None], [{}], [SHARD | {"num_tokens": None}], [SHARD])),
        *((key, value) for key in ("dtype", "lengths_dtype") for value in (None, "object", "float32", [])),
        *(
            (key, value)
            for key in ("repaired", "text")
            for value in (None, 3, {"cut_documents": None, "words": "x"})
        ),
        ("format", None),
        ("num_tokens", 16),
    ],
)
def test_a_manifest_with_an_odd_value_is_damaged(tmp_path: Path, key: str, value: object) -> None:
    fill(tmp_path / "s", [5, 5, 5], shard_tokens=5)
    manifest = tmp_path / "s" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {key: value}))
    with pytest.raises(DataError, match=r"manifest\.json is damaged \(.*\): prepare the corpus again\."):
        TokenStore.open(tmp_path / "s")
    StoreWriter(tmp_path / "s", replace=True, **IDENTITY).abort()  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}"])
def test_a_torn_manifest_is_damaged(tmp_path: Path, text: str) -> None:
    """The store is still known by its other files, and may be written anew in its place."""
    fill(tmp_path / "s", [5])
    (tmp_path / "s" / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        TokenStore.open(tmp_path / "s")
    (tmp_path / "s" / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"manifest\.json is missing"):
        TokenStore.open(tmp_path / "s")
    StoreWriter(tmp_path / "s", replace=True, **IDENTITY).abort()  # type: ignore[arg-type]


def test_lengths_must_add_up(tmp_path: Path) -> None:
    fill(tmp_path / "s", [5, 5, 5])
    lengths = tmp_path / "s" / "lengths.bin"
    whole = lengths.read_bytes()
    lengths.write_bytes(b"\xff" * len(whole))
    with pytest.raises(DataError, match=r"lengths\.bin is damaged \(wrong checksum\)"):
        TokenStore.open(tmp_path / "s")
    lengths.write_bytes(whole)
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    os.truncate(tmp_path / "s" / "tokens-00000.bin", 28)
    os.truncate(tmp_path / "s" / "flags-00000.bin", 14)
    manifest |= {"num_tokens": 14, "shards": [manifest["shards"][0] | {"num_tokens": 14}]}
    (tmp_path / "s" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        DataError, match=r"manifest\.json is damaged \(num_tokens=14, but lengths\.bin adds up to 15\)"
    ):
        TokenStore.open(tmp_path / "s")


@pytest.mark.parametrize("byte", [b"\xff", b"\x01"])
def test_counts_must_add_up(tmp_path: Path, byte: bytes) -> None:
    fill(tmp_path / "s", [5, 5, 5])
    (tmp_path / "s" / "unigrams.bin").write_bytes(byte * 8000)
    with pytest.raises(DataError, match=r"unigrams\.bin is damaged"):
        TokenStore.open(tmp_path / "s").unigram_counts()


@pytest.mark.parametrize("name", ["tokens-00000.bin", "flags-00001.bin", "lengths.bin", "unigrams.bin"])
def test_verify_finds_a_changed_byte(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "s", [5, 5, 5], shard_tokens=5)
    file = tmp_path / "s" / name
    raw = bytearray(file.read_bytes())
    raw[3] ^= 0x40
    file.write_bytes(raw)
    with pytest.raises(DataError, match=rf"{name} is damaged \(wrong checksum\)"):
        TokenStore.open(tmp_path / "s").verify()


def test_an_existing_place_is_not_overwritten(tmp_path: Path) -> None:
    fill(tmp_path / "s", [3])
    with pytest.raises(DataError, match="pass --force"):
        StoreWriter(tmp_path / "s", **IDENTITY)  # type: ignore[arg-type]
    (tmp_path / "t").mkdir()
    (tmp_path / "t/thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="holds something else"):
        StoreWriter(tmp_path / "t", replace=True, **IDENTITY)  # type: ignore[arg-type]
    with StoreWriter(tmp_path / "s", replace=True, **IDENTITY) as writer:  # type: ignore[arg-type]
        writer.add(np.arange(7), np.zeros(7, np.uint8))
        assert TokenStore.open(tmp_path / "s").num_tokens == 3
        writer.close()
    assert TokenStore.open(tmp_path / "s").num_tokens == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s", "t"]


def test_an_unfinished_store_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="7 ids, 6 flags"), StoreWriter(tmp_path / "s", **IDENTITY) as writer:  # type: ignore[arg-type]
        writer.add(np.arange(7), np.zeros(6, np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, signal, numpy as np\n"
        "from clozelm.data.store import StoreWriter\n"
        "from clozelm.errors import DataError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        f"    with StoreWriter({str(tmp_path / 's')!r}, fingerprint='x', vocab_size=1000) as writer:\n"
        "        for _ in range(100): writer.add(np.zeros(10_000, np.uint16), np.zeros(10_000, np.uint8))\n"
        "        writer.close()\n"
        "except DataError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "limit is reached. Nothing was kept" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_no_space_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with StoreWriter(tmp_path / "s", **IDENTITY) as writer:  # type: ignore[arg-type]
        writer.add(np.arange(7), np.zeros(7, np.uint8))
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match="the disk is full"):
            writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_with_a_buffer_still_to_write(tmp_path: Path) -> None:
    """Closing a file writes what it has buffered; giving the store up must not fail on that."""

    class Full:
        def write(self, raw: bytes) -> int:
            return len(raw)

        def close(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with StoreWriter(tmp_path / "s", **IDENTITY) as writer:  # type: ignore[arg-type]
        writer._open = (Full(), Full())  # type: ignore[assignment]
        with pytest.raises(DataError, match="the disk is full"):
            writer.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / f".s.partial-{gone.pid}").mkdir()
    fill(tmp_path / "s", [3])
    assert [p.name for p in tmp_path.iterdir()] == ["s"]
