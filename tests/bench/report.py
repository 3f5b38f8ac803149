"""Figures with their goals, as a table and as one JSON line per target."""
import dataclasses
import json
import statistics


@dataclasses.dataclass
class Figure:
    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def missed(self):
        return (self.at_most is not None and self.value > self.at_most) or (self.at_least is not None and self.value < self.at_least)

    def line(self):
        text = f"  {self.name:<50}{number(self.value):>12} {self.unit:<12} "
        if self.at_most is None and self.at_least is None:
            return text.rstrip()
        goal = f"≤ {number(self.at_most)}" if self.at_most is not None else f"≥ {number(self.at_least)}"
        return f"{text}goal {goal:<10}{'MISSED' if self.missed else 'ok'}"


@dataclasses.dataclass
class Report:
    target: str
    figures: list = dataclasses.field(default_factory=list)
    splits: dict = dataclasses.field(default_factory=dict)  # title → {process: value}

    def add(self, name, value, unit="", at_most=None, at_least=None):
        self.figures.append(Figure(name, value, unit, at_most, at_least))

    def split(self, title, parts):
        self.splits[title] = parts

    @property
    def missed(self):
        return [figure.name for figure in self.figures if figure.missed]

    def table(self):
        lines = [self.target] + [figure.line() for figure in self.figures]
        for title, parts in self.splits.items():
            lines.append(f"  {title}")
            lines += [f"    {name:<48}{number(value):>12}" for name, value in parts.items()]
        return "\n".join(lines)

    def json(self):
        figures = [{**{k: v for k, v in dataclasses.asdict(f).items() if v is not None}, "ok": not f.missed} for f in self.figures]
        return json.dumps({"target": self.target, "figures": figures, "splits": self.splits}, ensure_ascii=False)


def number(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def quartiles(values):
    """Lower quartile, median, upper quartile."""
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
