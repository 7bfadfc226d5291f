"""What every number and word on the pages means: one place for all of them, in one or two sentences each.

A definition says the board's own views, epochs and data sets where a board is given, and speaks of any board where
none is. Its anchor on the page `definitions.html` is its key here. Pages elsewhere link to anchors: keep them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdbench.board import Board

PAGE = "definitions.html"


@dataclass(frozen=True)
class Definition:
    """A word, its place on the page, its meaning in one or two sentences, and what else a newcomer may ask."""

    anchor: str
    name: str
    text: str
    more: str = ""

    @property
    def link(self) -> str:
        """Where the page says it, seen from the site's root."""
        return f"{PAGE}#{self.anchor}"


@dataclass(frozen=True)
class Chapter:
    """Definitions that belong together, under a heading of the page."""

    anchor: str
    title: str
    note: str
    terms: tuple[Definition, ...]


def definitions(board: Board | None = None) -> dict[str, Definition]:
    """Every definition by its anchor, in the order of the page; in the words of one board, or of any."""
    return {term.anchor: term for chapter in chapters(board) for term in chapter.terms}


def chapters(board: Board | None = None) -> tuple[Chapter, ...]:
    """The chapters of the page, in order."""
    words = _words(board)
    return tuple(
        replace(chapter, terms=tuple(replace(term, text=term.text.format(**words)) for term in chapter.terms))
        for chapter in CHAPTERS
    )


def definitions_context() -> dict[str, Any]:
    """The names that the definitions template uses: the words of any board."""
    return {"chapters": chapters()}


def _words(board: Board | None) -> dict[str, str]:
    """What the sentences leave open: it is the board's to say."""
    if board is None:
        return {
            "views": "the views that the board fixes",
            "stages": "three epochs that the board fixes",
            "smoothed": ", smoothed as the board says,",
            "transfer": "the board's second data set",
        }
    smoothing, transfer = board.evaluation.smoothing, board.transfer
    return {
        "views": f"{board.evaluation.views} views" if board.evaluation.views != 1 else "1 view",
        "stages": f"{_listed(board.stage_epochs)} epochs",
        "smoothed": f", as the mean of {smoothing} epochs," if smoothing > 1 else "",
        "transfer": f"{transfer.dataset}, split {transfer.split}" if transfer else "a second data set (here none)",
    }


def _listed(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last


CHAPTERS = (
    Chapter(
        "protocol",
        "What is compared",
        "A network that recognises actions, the student, is trained twice: once alone, and once with a second, frozen "
        "network beside it, the teacher. Both trainings begin with the same weights, unless the method gives others, "
        "and see the same videos in the same order. What differs at the end is what the teacher gave.",
        (
            Definition(
                "board",
                "Board",
                "Everything that must be equal for two runs to be comparable: data set, split, clips, objective, "
                "optimiser, epochs, evaluation.",
                "The page of a board's protocol lists each of these values, its pins, with the reason for it.",
            ),
            Definition(
                "cell",
                "Cell",
                "One student on one fraction of a board's training videos. Rows are ranked against each other only "
                "inside a cell.",
            ),
            Definition(
                "fraction",
                "Fraction",
                "The share of the training videos that a student may see. The same share is taken of each class, and "
                "a smaller fraction is part of a larger one.",
                "The test videos are always all of them.",
            ),
            Definition(
                "run",
                "Run and record",
                "A run is one training with one seed. It leaves a record: one file with the values it ran under, its "
                "curve, its predictions, its cost and its versions.",
                "Every number on these pages is computed from records; what follows from other fields of a record is "
                "recomputed when it is read, and must match.",
            ),
            Definition(
                "row",
                "Row",
                "The runs of one student, teacher, method and fraction that differ in their seed alone.",
            ),
            Definition(
                "seeds",
                "Seeds",
                "How many training seeds a row has. A seed decides first weights, order of the videos and "
                "augmentation; the run with a teacher and the one without share it.",
            ),
            Definition(
                "method",
                "Method",
                "How the teacher is used: terms that are added to the board's objective, and what is done before its "
                "first epoch, such as phases of the method's own. Options are named where two rows differ in them.",
                "A method that weighs a term of the board anew says so in its name.",
            ),
            Definition(
                "baseline",
                "Baseline",
                "The run without a teacher that every gain is measured against: same student, videos, test list "
                "and seed.",
            ),
        ),
    ),
    Chapter(
        "scores",
        "How good the student became",
        "Nothing is chosen on the test videos: the score is that of the last epoch, whichever epoch was best.",
        (
            Definition(
                "accuracy",
                "Accuracy",
                "Share of the test videos whose class is the one with the highest mean score over {views}, after the "
                "last epoch. Never the best epoch.",
                "A view is a clip cut from the video at a fixed place.",
            ),
            Definition(
                "top5",
                "Top-5",
                "Share of the test videos whose class is among the five with the highest mean scores, after the last "
                "epoch.",
            ),
            Definition(
                "stages",
                "Early, middle, late",
                "The same accuracy after {stages}. Late is the score itself.",
                "A teacher may help a student to learn sooner without making it better in the end; the stages show "
                "which of the two it was.",
            ),
            Definition(
                "curve",
                "1-view accuracy",
                "Test accuracy from one view of each video, measured after every epoch: cheaper than the score. Curves "
                "and milestones are read from it.",
            ),
            Definition(
                "best",
                "Best on test",
                "The highest 1-view accuracy of any epoch. It was chosen by looking at the test videos and is "
                "therefore never ranked.",
            ),
            Definition(
                "transfer",
                "Transfer",
                "Accuracy after the finished student was fine-tuned on {transfer}; the last epoch counts there too.",
            ),
            Definition(
                "pretext",
                "Pretext",
                "Share of the test videos of which the last epoch's network tells the transform that was done to one "
                "tuple of theirs. Majority is what always naming the most frequent transform would reach.",
                "The tuples and transforms are the same in every run.",
            ),
        ),
    ),
    Chapter(
        "comparison",
        "What the teacher gave",
        "Gains are differences within pairs of runs, so that an easy seed helps both sides alike.",
        (
            Definition(
                "gain",
                "Gain",
                "Accuracy of a run minus that of its baseline run, in percentage points, as the mean over seeds. "
                "Seeds without a baseline run are left out and counted as unpaired.",
                "From 40 to 42 per cent is a gain of 2 points.",
            ),
            Definition(
                "interval",
                "95\u00a0% interval",
                "Student's t over the seeds, printed as ± half its width. One seed has none, nor have seeds that all "
                "gave the same value: accuracies come in steps of one video, so a few may agree by chance.",
                "An interval that holds zero means that these seeds cannot tell the gain from none. It speaks of other "
                "training seeds, not of other videos, and of one row; of many rows some differ from zero by chance.",
            ),
            Definition(
                "rank",
                "Rank",
                "Place within a cell, by gain. Rows whose intervals meet share ranks: “1-3” means that any place "
                "from the first to the third may be the right one.",
                "A row without an interval has no rank.",
            ),
            Definition(
                "gap-closed",
                "Gap closed",
                "The gain as a share of the distance between the baseline and its better teacher, in per cent. Not "
                "given where the teacher is no better than the baseline.",
                "More than 100 means that the student passed its teacher, less than 0 that it fell back.",
            ),
            Definition(
                "matched",
                "As good as all videos without a teacher",
                "The smallest fraction on which a student with a teacher reaches the mean accuracy that it has "
                "without one on all videos: with the lower end of its interval, or with its mean where it has none.",
            ),
            Definition(
                "coverage",
                "Coverage",
                "How many of the cells that a teacher and method could fill they do fill, as in “9 of 12”. A mean "
                "over cells is given only when none is missing.",
                "A student is not taught by its own kind, so these cells are left out of the count; where a method "
                "asks for a teacher of that very kind, they are the ones that count.",
            ),
        ),
    ),
    Chapter(
        "speed",
        "How soon",
        "Epochs are counted from 1. They do not depend on the machine, as seconds do.",
        (
            Definition(
                "milestones",
                "Epochs to an accuracy",
                "The first epoch whose 1-view test accuracy{smoothed} reaches it; of all seeds the median run, of an "
                "even number the slower of the middle two.",
            ),
            Definition(
                "not-reached",
                ">N",
                "The accuracy was not reached in N epochs. Such a run counts as later than all others; it is never "
                "left out, and no epoch is made up for it.",
                "“2 of 3” beside an epoch is the number of seeds that got there.",
            ),
            Definition(
                "of-baseline",
                "Share of baseline",
                "Epochs until a run reaches this share of the last 1-view accuracy of its own baseline run.",
                "At 100 % it says when the student with a teacher is where it ends without one.",
            ),
            Definition(
                "milestone-seconds",
                "Seconds to an accuracy",
                "Seconds of training and of waiting for data until then, with those of the method's own phases before. "
                "Epochs, steps and samples are those of the board's own training: they leave the phases out.",
                "Evaluation and checkpoints are not counted.",
            ),
        ),
    ),
    Chapter(
        "tests",
        "Row against row",
        "The page of a cell sets its rows against each other, their teachers and their baseline by the answers that "
        "their runs gave to the same test videos.",
        (
            Definition(
                "pair-p",
                "p of a pair",
                "How often chance alone gives as large a difference between two rows, if every video that only one of "
                "them had right were as likely to favour either: McNemar's exact test with the mid-p correction.",
                "With several seeds the runs are paired seed by seed and a video's answers are added up first, because "
                "the seeds share the test videos and are no new samples. It speaks of these trained networks on other "
                "videos and says nothing of other seeds; the interval of the gain does that.",
            ),
            Definition(
                "corrected-p",
                "Corrected p",
                "The p of a pair after Holm's correction for all pairs of rows of the cell. Where only some of the "
                "rows are tested, it is an upper bound.",
                "The file of the pairs has the p of each seed uncorrected.",
            ),
            Definition(
                "agreement-teacher",
                "With its teacher",
                "Share of the test videos to which student and teacher give the same class, right or wrong, as the "
                "mean over seeds. Given only where the teacher's own run is on the board.",
            ),
            Definition(
                "agreement-untaught",
                "Baseline with that teacher",
                "Share of the test videos to which the paired run without a teacher gives the same class as that "
                "teacher: what needs no teaching.",
            ),
            Definition(
                "agreement-baseline",
                "With its baseline",
                "Share of the test videos to which the run and its paired run without a teacher give the same class.",
            ),
            Definition(
                "agreement-seeds",
                "With its next seed",
                "Share of the test videos to which two runs of the row that differ in the seed alone give the same "
                "class.",
            ),
            Definition(
                "kappa",
                "Kappa",
                "Cohen's: agreement beyond what two runs that name each class as often as these do would reach by "
                "chance. 1 is always, 0 is chance.",
                "Two better runs agree more often without any teaching, which is what the agreement of the baseline "
                "with the teacher shows.",
            ),
            Definition(
                "class-gain",
                "Gain of a class",
                "Share of the class's test videos that were right minus that of the paired run, as a mean over seeds.",
                "A class has few videos: one of them is a large step, and of many classes some move far by chance.",
            ),
            Definition(
                "subset",
                "Subset",
                "Standard deviation of accuracy that comes from which videos were drawn for the fraction.",
                "Estimated, like the next two, as random effects in an analysis of variance over the training seeds "
                "that all subsets share: with few degrees of freedom roughly.",
            ),
            Definition(
                "training-seed",
                "Training seed",
                "Standard deviation of accuracy that comes from first weights, order of the videos and augmentation.",
            ),
            Definition(
                "rest",
                "Rest",
                "Standard deviation of accuracy that subset and training seed leave unexplained.",
            ),
            Definition(
                "profile",
                "Performance profile",
                "In what share of its cells an entry, which is a teacher and a method, is within a factor of the best "
                "entry of the cell, by its errors or its epochs (Dolan and Moré, 2002; Dahl et al., 2023). An accuracy "
                "that the median run never reached counts as infinitely far.",
                "Entries are judged over the cells in which they have runs, and the number says how many: two profiles "
                "over different cells are not to be compared closely. A cell with one entry compares nothing and is "
                "left out.",
            ),
        ),
    ),
    Chapter(
        "teachers",
        "What a teacher has seen",
        "A teacher that was trained on a test video would hand its student the answer. Each record therefore says "
        "what its teacher was trained on, and which weights it had.",
        (
            Definition(
                "leakage",
                "Leakage",
                "Checked means: the teacher's list of training videos was compared with the student's test list, and "
                "no video stands on both. A teacher that has seen a test video is refused before the run.",
                "Pages tell this for each test list apart, since a check against one list says nothing of another.",
            ),
            Definition(
                "trusted",
                "Not checked",
                "The teacher does not say which videos it was trained on. Its runs are shown and never ranked.",
            ),
            Definition(
                "privileged",
                "Saw more",
                "The teacher was trained on a larger fraction of the training videos than its student: part of the "
                "gain may come from those videos. It is allowed, and said on the row.",
            ),
            Definition(
                "partial",
                "Partial",
                "Some of the videos of a list could not be read, so that a network saw fewer than the list says. Runs "
                "that are partial, or whose teacher is, are not ranked.",
            ),
            Definition(
                "lineage",
                "Lineage",
                "A teacher is told by the digest of its weights: two trainings under one name are two lineages, and "
                "their students are listed apart.",
            ),
        ),
    ),
    Chapter(
        "standing",
        "What takes part in the comparison",
        "Every record has a page; not every record is ranked.",
        (
            Definition(
                "ranked",
                "Ranked",
                "A complete run under the board's own pins, with a teacher that was checked. One run for each seed; "
                "a repetition is shown beside it.",
                "The board names its seeds before anything is run. Further ones count where all of these are there, "
                "and one after another, so that nobody picks seeds by their results.",
            ),
            Definition(
                "stale",
                "Stale",
                "A run made under other pins than the board has today. It cannot be compared with the rows of today, "
                "and its page says in which pins it differs.",
            ),
            Definition(
                "unranked",
                "Not ranked",
                "A run under the board's pins that takes part in no comparison, with the reason: it is partial or "
                "failed, its teacher was not checked, its list of videos is not the one that most runs have, it is "
                "disputed, it repeats a seed, or its seed is out of turn.",
            ),
            Definition(
                "withdrawn",
                "Withdrawn",
                "A record that was taken back, with the reason and the day. Its page stays; it is in no table.",
                "Runs that its weights taught keep their ranks, and their rows and pages say so.",
            ),
        ),
    ),
    Chapter(
        "verification",
        "Who has checked a record",
        "Every record starts as self-reported, and its page says what became of it, by whom and when.",
        (
            Definition("self-reported", "Self-reported", "Nobody but its author has run it."),
            Definition("reproduced", "Reproduced", "Somebody else ran its command and came to the same result."),
            Definition(
                "maintainers", "Reproduced by the maintainers", "The maintainers of the board ran it again themselves."
            ),
            Definition(
                "disputed",
                "Disputed",
                "Somebody came to another result, or found a fault. The record is shown with the note, and not ranked.",
            ),
            Definition(
                "tuning",
                "Tuning",
                "How many runs were made to choose a method's options, and on which videos or cells. It is the "
                "submitter's word; where nothing stands, nothing was said.",
                "A method tuned on the very cell in which it is compared has had more chances than the others.",
            ),
        ),
    ),
    Chapter(
        "costs",
        "What it cost",
        "Seconds are compared only within one class of device: the same accelerator, or the same processor with as "
        "many threads.",
        (
            Definition(
                "cost",
                "One run",
                "Mean wall-clock time of a run: training, waiting for data, evaluation, checkpoints and transfer.",
            ),
            Definition(
                "cost-with-teacher",
                "With teacher",
                "The time of one run and of its teacher's training. Not given where the teacher's is not known, or was "
                "taken on another class of device.",
                "One teacher may serve many students, so sums over rows would count its training more than once.",
            ),
            Definition(
                "device",
                "Device",
                "The class of hardware a run was on: accelerators by name and number, or processor and threads.",
            ),
            Definition(
                "teacher-clips",
                "Teacher clips a step",
                "Clips that are shown to the teacher, and to networks of the method's own, in each training step: "
                "what the lesson adds to the arithmetic.",
            ),
            Definition(
                "run-clips",
                "Teacher's clips",
                "Clips that the teacher, and networks of the method's own, were shown at most in one run, as the mean "
                "over the row's runs. Those of the method's own phases are not recorded.",
            ),
            Definition(
                "extra-parameters",
                "Extra parameters",
                "Parameters that a method holds beside the student's own, such as layers that match two feature maps.",
            ),
            Definition(
                "phases",
                "Own phases",
                "Epochs that a method trains before the board's own, to prepare its networks, and their seconds. "
                "The board's epochs are the same for all methods.",
            ),
            Definition(
                "memory",
                "Peak memory",
                "The most memory that a run held: tensors on an accelerator, the whole process on a processor.",
            ),
        ),
    ),
)
