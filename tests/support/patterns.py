"""Patterns of the names of files, and what they stand for."""

TREE = (
    *("1.jpg", "a/2.jpg", "a/.3.jpg", "a/b/4.jpg", "a/b/b/5.jpg", "a/ab.jpg/6.jpg"),
    *(".trash/7.jpg", "a/notes.txt", "c/.d/8"),
)
PATTERNS = {
    "photos/*.jpg": "1.jpg",
    "photos/**/*.jpg": "1.jpg a/2.jpg a/b/4.jpg a/b/b/5.jpg a/ab.jpg/6.jpg",
    "photos/**": "1.jpg a/2.jpg a/.3.jpg a/b/4.jpg a/b/b/5.jpg a/ab.jpg/6.jpg a/notes.txt c/.d/8",
    "photos/**/": " ".join(TREE),
    "photos/*/": "a/2.jpg a/.3.jpg a/b/4.jpg a/b/b/5.jpg a/ab.jpg/6.jpg a/notes.txt c/.d/8",
    "photos/*": "1.jpg a/2.jpg a/.3.jpg a/b/4.jpg a/b/b/5.jpg a/ab.jpg/6.jpg a/notes.txt c/.d/8",
    "photos/*/*.jpg": "a/2.jpg a/ab.jpg/6.jpg",
    "photos/*/b/*.jpg": "a/b/4.jpg",
    "photos/**/b/**/*.jpg": "a/b/4.jpg a/b/b/5.jpg",
    "photos/**/**/b": "a/b/4.jpg a/b/b/5.jpg",
    "photos/*//b": "a/b/4.jpg a/b/b/5.jpg",
    "photos/?/[!0-1].jpg": "a/2.jpg",
    "photos/a/.*": "a/.3.jpg",
    "phot?s/.*/7.jpg": ".trash/7.jpg",
    "phot?s/a/**.txt": "a/notes.txt",
    "*/1.jpg": "1.jpg",
    "photos/*/b/./4.jpg": "a/b/4.jpg",
}
"""Patterns, and what they stand for in the folder `photos` with the files of `TREE`."""
