import struct
from pathlib import Path

import numpy as np
import pytest
from rlds_files import castagnoli, delimited, example, feature, framed, varint

from workbench.data.crc32c import crc32c
from workbench.data.example import Malformed, byte_strings, features, floats, integers
from workbench.data.tfrecord import read, scan
from workbench.errors import UserError

RECORDS = [b"first", b"", bytes(range(256)) * 5]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "some.tfrecord-00000-of-00001"
    path.write_bytes(b"".join(framed(record) for record in RECORDS))
    return path


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_checksums_are_those_of_rfc_3720(data, checksum):
    assert crc32c(data) == checksum == castagnoli(data)


def test_checksums_of_every_length_are_those_of_a_loop_over_bytes():
    data = np.random.default_rng(0).bytes(70_000)
    for length in [*range(1, 140), 4095, 4096, 4097, 65_535, 70_000]:
        assert crc32c(data[:length]) == castagnoli(data[:length]), length


def test_records_come_back_one_at_a_time_in_any_order(path):
    found = scan(path)
    assert [record.length for record in found] == [len(record) for record in RECORDS]
    assert [read(path, record, "it") for record in reversed(found)] == RECORDS[::-1]


def test_an_empty_file_has_no_records(tmp_path):
    (tmp_path / "empty").touch()
    assert scan(tmp_path / "empty") == ()


def test_a_wrong_length_is_told_with_file_record_and_byte(path):
    whole = bytearray(path.read_bytes())
    second = len(framed(RECORDS[0]))
    whole[second] ^= 4
    path.write_bytes(whole)
    with pytest.raises(UserError, match=rf"^Record 1 of {path} has a length .* at byte {second}\."):
        scan(path)


@pytest.mark.parametrize(
    ("lost", "words"), [(1, "is cut off: it should end at byte"), (1287, "is cut off within its length")]
)
def test_a_truncated_file_is_told_with_its_record(path, lost, words):
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(UserError, match=f"^Record 2 of {path} {words}"):
        scan(path)


@pytest.mark.parametrize("place", [0, 1279, 1280])
def test_changed_data_and_changed_checksums_are_told(path, place):
    whole = bytearray(path.read_bytes())
    whole[len(whole) - 1284 + place] ^= 1
    path.write_bytes(whole)
    with pytest.raises(UserError, match=r"^Record 2 is damaged: its data do not fit their checksum"):
        read(path, scan(path)[2], "Record 2")


@pytest.mark.parametrize("packed", [True, False])
def test_an_example_comes_back_packed_or_not(packed):
    numbers = [0, 1, 127, 128, 300, 2**63 - 1, -1, -(2**63)]
    data = example({"steps/action": [0.5, -2.0, 1e-30], "a": numbers, "b": [b"", b"x" * 300]}, packed=packed)
    found = features(data, 0, len(data))
    assert list(found) == ["steps/action", "a", "b"]
    np.testing.assert_array_equal(floats(data[found["steps/action"]]), np.float32([0.5, -2.0, 1e-30]))
    np.testing.assert_array_equal(integers(data[found["a"]]), np.int64(numbers))
    assert byte_strings(data[found["b"]]) == [b"", b"x" * 300]


def test_packed_and_unpacked_parts_of_one_list_are_joined_in_order():
    mixed = delimited(2, b"\x0d" + struct.pack("<f", 1) + delimited(1, struct.pack("<2f", 2, 3)))
    np.testing.assert_array_equal(floats(mixed), np.float32([1, 2, 3]))


def test_fields_that_are_not_known_are_passed_over_and_the_last_of_equal_names_counts():
    unknown = b"\x78\x05" + b"\x79" + bytes(8) + b"\x7d" + bytes(4) + delimited(14, b"abc")
    entries = [delimited(1, delimited(1, b"x") + unknown + delimited(2, feature([one]))) for one in (3, 4)]
    data = unknown + delimited(1, unknown + entries[0] + entries[1]) + unknown
    assert integers(data[features(data, 0, len(data))["x"]]).tolist() == [4]


def test_an_empty_feature_has_no_values_of_any_kind():
    assert len(floats(b"")) == len(integers(b"")) == len(byte_strings(b"")) == 0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (feature([b"x"]), "it holds bytes, not floats"),
        (feature([1]), "it holds integers, not floats"),
        (delimited(2, delimited(1, b"12345")), "ends within one"),
        (delimited(2, b"\x0d12"), "2 bytes past the end"),
        (delimited(2, b"\x0b"), "unknown form"),
        (b"\x12\x80", "a number is cut off"),
        (b"\x12" + b"\x80" * 10, "more than 10 bytes"),
    ],
)
def test_floats_that_are_none_are_malformed(data, words):
    with pytest.raises(Malformed, match=words):
        floats(data)


@pytest.mark.parametrize(("data", "words"), [(b"\x80", "ends within one"), (b"\x80" * 10 + b"\x01", "more than 10")])
def test_integers_that_do_not_end_are_malformed(data, words):
    with pytest.raises(Malformed, match=words):
        integers(delimited(3, delimited(1, data)))


def test_bytes_that_are_no_example_are_malformed_and_nothing_else():
    whole = example({"steps/action": [0.5] * 4, "n": [1, 2, 300], "s": [b"word"] * 3})
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        data = bytearray(whole[: random.integers(1, len(whole) + 1)])
        for place in random.integers(0, len(data), 3):
            data[place] = random.integers(256)
        try:
            found = features(bytes(data), 0, len(data))
        except Malformed:
            refused += 1
            continue
        for value in found.values():
            for reader in (floats, integers, byte_strings):
                try:
                    reader(bytes(data[value]))
                except Malformed:
                    refused += 1
    assert refused > 500


def test_a_name_that_is_not_text_is_malformed():
    data = delimited(1, delimited(1, delimited(1, b"\xff\xfe") + delimited(2, feature([1]))))
    with pytest.raises(Malformed, match="name is not text"):
        features(data, 0, len(data))


def test_varints_of_the_writer_are_protobufs_own_example():
    assert varint(150) == b"\x96\x01"
    assert delimited(2, b"testing") == b"\x12\x07testing"
