"""An ICC profile without what would cost LittleCMS far more time or memory than an honest one of its size.

It prefers float tags (D2B0 to D2B3) to all others. They are programs, of which a small file may name one step many
thousand times; the tables or curves beside them say the same, precisely enough for pixels of 8 bits. And it takes the
memory for a table, up to 512 MB, before it finds that the table is not in the file.
"""

import struct
from math import prod
from typing import Final

_TAGS_AT: Final = 128  # behind the header: how many there are, and for each its name, where it starts and its size
_MOST_TAGS: Final = 100  # that LittleCMS reads
_CURVES_FIRST: Final = b"mAB "  # the kind of table that has curves of any size before it


def checked(profile: bytes) -> bytes:
    """Return the profile without its float tags, which are renamed.

    Raises `ValueError` or `struct.error` for a profile with a table that is larger than all of it, or with more tags
    than LittleCMS reads.
    """
    (count,) = struct.unpack_from(">I", profile, _TAGS_AT)
    if count > _MOST_TAGS:
        raise ValueError(f"the profile has {count:,} tags, and {_MOST_TAGS} are the most")
    found = bytearray(profile)
    for at in range(_TAGS_AT + 4, _TAGS_AT + 4 + 12 * count, 12):
        name, start = struct.unpack_from(">4sI", profile, at)
        if name.startswith(b"D2B"):
            found[at : at + 3] = b"d2b"
        elif name.startswith(b"A2B") and (entries := _entries(profile, start)) > len(profile):
            raise ValueError(f"the profile has a table of {entries:,} entries, and {len(profile):,} bytes")
    return bytes(found)


def _entries(profile: bytes, start: int) -> int:
    """Return how many numbers the table of a tag has, of one byte or two each (ICC.1:2022, 10.10 to 10.12)."""
    kind, inputs, outputs, points = struct.unpack_from(">4s4xBBB", profile, start)
    if kind != _CURVES_FIRST:
        return int(outputs * points**inputs)
    (table,) = struct.unpack_from(">I", profile, start + 24)
    return int(outputs * prod(struct.unpack_from(f"{inputs}B", profile, start + table))) if table else 0
