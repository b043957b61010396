"""Messages, docstrings and help texts are short and in plain English."""

import argparse
import ast
import re
from pathlib import Path

import pytest

from skadm.cli import _parser

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "skadm").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
MODULES = PACKAGE + BENCHMARKS
MOST_SENTENCES = 3


# Turns of phrase that readers have to decode, with what to write instead.
UNCLEAR = {
    r"anew": "again, refit, restart",
    r"go(es|ing)? on": "resume, continue",
    r"(is|are|be|was|were) told": "gets, is passed, is labelled",
    r"tells? (which|what|whose|where)": "name the object: labels, names, paths",
    r"stands? (in|alone)": "replaces, represents",
    r"found by": "detected by, identified by",
    r"of (whose|whatever|whichever)": "use a noun or a second sentence",
    r"who(so)?ever": "name the person or program",
    r"(is|are) to be": "must be, or the active voice",
    r"is not to be": "must not be",
    r"such as there (is|are)": "if any",
    r"(one|those) that there (is|are)( not)?": "an unknown name, the existing ones",
    r"which a \w+ has not": "unexpected",
    r"let it be": "allow",
    r"let go of": "release, free",
    r"anybody's?|nobody's?": "untrusted, unknown",
    r"(a|one|two|each) of (his|its|their|your) own": "separate",
    r"by itself|by themselves": "separately, automatically",
    r"in (its|their) place": "instead",
    r"not to be had": "not available",
    r"says nothing|means? nothing": "is not meaningful",
    r"what (is|are) there": "the existing ones",
}
# Fine in prose, where there is room for context, but not in a message.
UNCLEAR_IN_MESSAGES = UNCLEAR | {
    r"own": "its, your, a separate",
    r"of (which|what)": "use a noun or a second sentence",
    r"whatever": "for any, regardless of",
    r"(?<!there )is no": "is not a",
    r"leads? out of": "points outside",
    r"bare": "without names, unlabelled",
    r"alike": "identical, equal",
}


def unclear(text, phrases):
    """The phrases of a list that a text contains, with what to write instead."""
    text = " ".join(text.split())
    return {
        found[0].strip(): better
        for pattern, better in phrases.items()
        if (found := re.search(rf"\b(?:{pattern})\b", text, re.IGNORECASE))
    }


def literal(node):
    """The literal parts of an expression that makes a text; {} for the others."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "{}"
    if isinstance(node, ast.JoinedStr):
        return "".join(map(literal, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return literal(node.left) + literal(node.right)
    if isinstance(node, ast.IfExp):
        return max(literal(node.body), literal(node.orelse), key=len)
    return "{}"


def messages_of(tree):
    """Line and literal parts of what is raised and warned about."""
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else node
        if not isinstance(call, ast.Call):
            continue
        warns = ast.unparse(call.func) in ("warnings.warn", "warn")
        if isinstance(node, ast.Raise) or warns:
            for argument in call.args[:2]:  # OSError: number, message
                yield node.lineno, literal(argument)


def n_sentences(text):
    text = re.sub(r"\b(e\.g|i\.e|et al|cf|vs)\.", "", text.strip())
    return len(re.findall(r"[.?!](?=\s+[A-Z{])", text)) + 1


def docstrings_of(tree):
    """Line and text of the docstrings of public classes and functions."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if docstring := ast.get_docstring(node):
            yield getattr(node, "lineno", 1), docstring
        if isinstance(node, ast.Module | ast.ClassDef):
            nodes += [
                child
                for child in node.body
                if isinstance(child, ast.ClassDef | ast.FunctionDef)
                and not child.name.startswith("_")
            ]


def texts_of(tree):
    """Line and literal parts of every text: docstrings, help texts, captions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr):
            text = literal(node)
            if " " in text.strip():
                yield node.lineno, text


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def module_name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.slow
@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_messages_are_short_and_clear(path):
    for line, text in messages_of(parsed(path)):
        assert n_sentences(text) <= MOST_SENTENCES, f"line {line}: {text}"
        assert not unclear(text, UNCLEAR_IN_MESSAGES), f"line {line}: {text}"


@pytest.mark.parametrize("path", PACKAGE, ids=module_name)
def test_docstrings_are_clear(path):
    for line, text in docstrings_of(parsed(path)):
        assert not unclear(text, UNCLEAR), f"line {line}"


@pytest.mark.parametrize("path", BENCHMARKS, ids=module_name)
def test_texts_of_benchmarks_are_clear(path):
    for line, text in texts_of(parsed(path)):
        assert not unclear(text, UNCLEAR), f"line {line}: {text}"


def parsers(parser):
    """A parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers(command)


def test_help_texts_are_clear():
    texts = [parser.format_help() for parser in parsers(_parser())]
    assert len(texts) > 5
    for text in texts:
        assert not unclear(text, UNCLEAR), text.splitlines()[0]


def test_unclear_messages_are_noticed():
    source = """
def train(name, path):
    '''Go on from the last epoch.'''
    if name:
        raise ValueError(f"{name} stands " + f"alone. A. B. {path}. C")
    warnings.warn("what you own" if path else "no")
"""
    tree = ast.parse(source)
    texts = [text for _, text in messages_of(tree)]
    assert texts == ["{} stands alone. A. B. {}. C", "what you own"]
    assert n_sentences(texts[0]) == 5
    assert unclear(texts[0], UNCLEAR) == {"stands alone": "replaces, represents"}
    assert list(unclear(texts[1], UNCLEAR_IN_MESSAGES)) == ["own"]
    assert next(text for _, text in texts_of(tree)) == "Go on from the last epoch."
    (_, docstring), *rest = docstrings_of(tree)
    assert list(unclear(docstring, UNCLEAR)) == ["Go on"]
    assert rest == []
