"""The results of benches/run: a file with one JSON object to a line, the first about the run, then every single result."""

import json
import statistics

import rows


class Results:
    def __init__(self, about):
        self.about = about  # rounds, quick, machine (lines); at its end minutes, others
        self.found = {}  # (row's label, column) -> results in the order of the rounds
        self.failed = {}  # the same -> what went wrong

    def caveat(self):
        """What a reader must know first; "" on a machine that did nothing else."""
        others = self.about.get("others")
        if others is None:
            return "The run did not come to its end."
        return f"Other programs took {others:.0%} of the machine meanwhile: these figures say little." if others >= 0.1 else ""

    def add(self, label, column, result):
        self.found.setdefault((label, column), []).append(result)

    def fail(self, label, column, text):
        self.failed.setdefault((label, column), []).append(text)

    def values(self, label, column, figure=None):
        figure = figure or rows.BY_LABEL[label].figure
        return [result[figure] for result in self.found.get((label, column), []) if figure in result]

    def median(self, label, column, figure=None):
        values = self.values(label, column, figure)
        return statistics.median(values) if values else None

    def standing(self, label, column):
        """The row whose figure stands for this column here: the one with a thread where a system has no threads."""
        if self.values(label, column):
            return label
        single = rows.BY_LABEL[label].single
        return single if single and column not in rows.WITH_THREADS and self.values(single, column) else None

    def ratio(self, label, column, figure=None):
        """libweir's ratio to a column, above 1 where libweir is ahead; None where there is none."""
        other = self.standing(label, column)
        return self.compare((label, rows.OWN), (other, column), figure) if other else None

    def compare(self, ours, theirs, figure=None):
        """The same of two (label, column)."""
        figure = figure or rows.BY_LABEL[ours[0]].figure
        first, second = self.median(*ours, figure), self.median(*theirs, figure)
        if not first or not second:
            return None
        return first / second if figure == rows.RATE else second / first

    def best(self, label, columns=rows.PEERS, figure=None):
        """The column that libweir is least ahead of, with the ratio."""
        ratios = [(ratio, column) for column in columns if (ratio := self.ratio(label, column, figure)) is not None]
        return min(ratios) if ratios else None

    def columns(self, labels):
        """Those that have something to show in one of these rows, in their order."""
        return [column for column in rows.SYSTEMS
                if any(self.standing(label, column) or (label, column) in self.failed for label in labels)]

    def measured(self, row):
        return any((row.label, column) in found for column in rows.SYSTEMS for found in (self.found, self.failed))


def read(path):
    with open(path, encoding="utf-8") as file:
        results = Results(json.loads(next(file))["run"])
        for line in file:
            entry = json.loads(line)
            if "run" in entry:
                results.about = entry["run"]
                continue
            if entry["row"] not in rows.BY_LABEL or entry["column"] not in rows.SYSTEMS:
                continue  # of another version
            if "failed" in entry:
                results.fail(entry["row"], entry["column"], entry["failed"])
            else:
                results.add(entry["row"], entry["column"], entry)
    return results
