"""The paper's Tables 3 to 7, typed a second time: a column of the paper is a line here, in whole per cent.

Within a line the three students stand in the order r3d, c3d, r2plus1d, parted by a bar; each has its two
teachers in the order c3d, r3d, r2plus1d without itself, and then the run without a teacher.
"""

from __future__ import annotations

STUDENTS = ("r3d", "c3d", "r2plus1d")
TEACHERS = ("c3d", "r3d", "r2plus1d")

TABLES = """
Table 3, 100
ucf101 late    45 48 47 | 55 52 46 | 46 48 44
hmdb51 late    61 62 60 | 61 62 60 | 62 60 62

Table 4, 100
ucf101 early   44 48 44 | 51 52 44 | 43 48 41
ucf101 middle  45 48 47 | 55 52 46 | 46 48 44
ucf101 late    45 48 47 | 55 52 46 | 46 48 44

Table 5, 2
ucf101 early   42 29 25 | 26 25 24 | 29 28 24
ucf101 middle  43 38 34 | 44 40 33 | 39 36 38
ucf101 late    44 39 34 | 44 40 36 | 39 36 38

Table 6, 25
ucf101 early   46 43 41 | 50 53 48 | 42 45 40
ucf101 middle  46 45 45 | 54 56 49 | 45 46 45
ucf101 late    46 47 45 | 54 56 51 | 46 46 47

Table 7, 50
ucf101 early   42 40 35 | 55 54 48 | 43 41 41
ucf101 middle  44 42 39 | 56 54 53 | 45 44 44
ucf101 late    45 42 39 | 56 54 54 | 45 45 44
"""

# table, fraction, data set, stage, student, teacher
Place = tuple[str, float, str, str, str, str | None]


def figures() -> dict[Place, int]:
    """Every figure in whole per cent, by its place."""
    found: dict[Place, int] = {}
    for block in TABLES.strip().split("\n\n"):
        head, *lines = block.splitlines()
        table, _, percent = head.partition(", ")
        for line in lines:
            dataset, stage, *_ = line.split()
            groups = line.split(stage)[1].split("|")
            for student, group in zip(STUDENTS, groups, strict=True):
                teachers = [*(name for name in TEACHERS if name != student), None]
                for teacher, figure in zip(teachers, group.split(), strict=True):
                    found[table, int(percent) / 100, dataset, stage, student, teacher] = int(figure)
    return found
