r"""The write-up as one document: main.tex, which includes every part and compiles, and main.md, which says the same.

The parts stand in files of their own, so that a paper takes what it needs by \input and \includegraphics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.report import figures, tables
from harness.report.paper import prose, references
from harness.report.paper.prose import Paragraph, Sentence
from harness.report.paper.references import Reference
from harness.report.pieces import Drawn
from harness.report.section import Table

NARROW = ("data",)
"""Tables that fit into one column."""

# A letter that the fonts lack is set as a box: foreign text must not stop a document.
_PREAMBLE = r"""\documentclass[10pt,twocolumn]{article}
\usepackage{iftex}
\ifPDFTeX
  \usepackage[utf8]{inputenc}
  \makeatletter
  \def\UTFviii@undefined@err#1{\rule{0.5em}{0.5em}}
  \makeatother
  \usepackage[T1]{fontenc}
  \IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
  \usepackage{textcomp}
\else
  \usepackage{fontspec}
\fi
\usepackage[margin=0.75in,columnsep=0.4in]{geometry}
\usepackage{array,booktabs,graphicx,tabularx,url}
\usepackage[numbers]{natbib}
\emergencystretch=3em
"""


@dataclass(frozen=True)
class Paper:
    """What a write-up is made of.

    Attributes:
        title: the study's name.
        question: what the study asks, as its file says; may be empty.
        findings: sentences of the comparison.
        methods: paragraphs in words.
        drawn: figures, at the width of one column or two.
        tables: with captions.
        cited: what the methods cite.
    """

    title: str
    question: str
    findings: Sequence[str]
    methods: Sequence[Paragraph]
    drawn: Sequence[Drawn]
    tables: Sequence[Table]
    cited: Sequence[Reference]

    @property
    def results(self) -> Sequence[Paragraph]:
        """The findings as one paragraph."""
        return [[Sentence(each) for each in self.findings]]


def save(paper: Paper, folder: Path) -> list[Path]:
    """Write every part and the two documents; returns their paths, main.tex first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "figures").mkdir(exist_ok=True)
    texts = {
        "main.tex": latex(paper),
        "main.md": markdown(paper),
        "methods.tex": prose.latex(paper.methods),
        "methods.md": prose.markdown(paper.methods),
        "results.tex": prose.latex(paper.results),
        "results.md": prose.markdown(paper.results),
        "references.bib": references.bibtex(paper.cited),
    }
    paths = [folder / name for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_bytes(text.encode("utf-8", "replace"))
    for drawn in paper.drawn:
        paths.append(folder / "figures" / f"{drawn.name}.pdf")
        paths[-1].write_bytes(figures.pdf(drawn.figure))
    for each in paper.tables:
        columns = 1 if each.name in NARROW else 2
        paths += tables.save(each.frame, folder / "tables", each.name, each.caption, each.once, columns)
    return paths


def latex(paper: Paper) -> str:
    """main.tex."""
    question = [r"\section{Question}" + "\n" + tables.latex_text(paper.question)] if paper.question else []
    parts = [
        _PREAMBLE + rf"\title{{{tables.latex_text(paper.title)}}}",
        r"\author{}\date{}",
        r"\begin{document}",
        r"\maketitle",
        *question,
        r"\section{Methods}" + "\n" + r"\input{methods}",
        r"\section{Results}" + "\n" + r"\input{results}",
        *(_figure(each) for each in paper.drawn),
        *(rf"\input{{tables/{each.name}}}" for each in paper.tables),
        *([r"\bibliographystyle{plainnat}" + "\n" + r"\bibliography{references}"] if paper.cited else []),
        r"\end{document}",
    ]
    return "\n".join(parts) + "\n"


def _figure(drawn: Drawn) -> str:
    wide = float(drawn.figure.get_figwidth()) > figures.SINGLE
    kind, width = ("figure*", r"\textwidth") if wide else ("figure", r"\columnwidth")
    return "\n".join(
        [
            rf"\begin{{{kind}}}\centering",
            rf"\includegraphics[width={width}]{{figures/{drawn.name}.pdf}}",
            rf"\caption{{{tables.latex_text(drawn.caption)}}}\label{{fig:{drawn.name}}}",
            rf"\end{{{kind}}}",
        ]
    )


def markdown(paper: Paper) -> str:
    """main.md."""
    title = tables.markdown_text(paper.title)
    parts = [f"# {title}", *([tables.markdown_text(paper.question)] if paper.question else [])]
    parts += ["## Methods", prose.markdown(paper.methods), "## Results", prose.markdown(paper.results)]
    parts += [f"![{tables.markdown_text(each.caption)}](figures/{each.name}.pdf)" for each in paper.drawn]
    parts += [tables.markdown(each.frame, each.caption, each.once) for each in paper.tables]
    parts += ["References stand in `references.bib`."] if paper.cited else []
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"
