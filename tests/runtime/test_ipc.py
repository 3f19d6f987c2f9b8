"""Messages between our processes arrive whole, in pieces of whatever size, or the reader is told that they will not."""

import socket
import threading

import pytest

from app.runtime import ipc

MESSAGE = {"images": [bytes(300_000), b"x"], "text": "ü", "none": None}


def test_a_message_arrives_as_it_was_sent_though_it_is_larger_than_the_buffer_of_the_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=ipc.send, args=(theirs, MESSAGE))
        sender.start()
        assert ipc.receive(ours) == MESSAGE
        sender.join()


@pytest.mark.parametrize("size", [1, 7, 9, 100_000])
def test_a_message_that_comes_in_pieces_is_there_with_its_last_byte_and_not_before(size: int) -> None:
    content, received = b"".join(ipc.packed(MESSAGE)), bytearray()
    pieces = [content[:20], content[20 : len(content) - size], *([content[-size:-1]] if size > 1 else []), content[-1:]]
    for piece in pieces:
        assert ipc.unpacked(received) is None
        received += piece
    assert ipc.unpacked(received) == (MESSAGE,)


def test_who_waits_for_a_message_of_somebody_that_ended_is_told() -> None:
    for sent in (b"", b"".join(ipc.packed(MESSAGE))[:100]):
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                theirs.sendall(sent)
            with pytest.raises(EOFError):
                ipc.receive(ours)
