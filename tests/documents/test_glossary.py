"""The glossary is short and in order, and each of its words is linked from where a reader meets it."""

import re

from tests.documents.test_docs import anchors
from tests.support.data import REPOSITORY

GLOSSARY = REPOSITORY / "docs" / "glossary.md"
ENTRIES = re.findall(r"^## (.*)\n\n(.*?)\n(?=\n##|\Z)", GLOSSARY.read_text(), re.M | re.S)


def test_words_are_in_alphabetical_order_and_each_takes_two_sentences_at_most() -> None:
    words = [word.casefold() for word, _ in ENTRIES]
    assert words == sorted(words)
    assert [word for word, said in ENTRIES if len(re.findall(r"\.\s|\.$", said.strip())) > 2] == []


def test_every_word_is_linked_from_another_document() -> None:
    others = [path for path in (REPOSITORY / "README.md", *REPOSITORY.glob("docs/*.md")) if path != GLOSSARY]
    linked = {anchor for path in others for anchor in re.findall(r"glossary\.md#([\w-]+)", path.read_text())}
    assert linked == anchors(GLOSSARY) - {"glossary"}
