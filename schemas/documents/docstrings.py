"""What the source says about a class, its attributes and its enum members, for the documents."""

from __future__ import annotations

import ast
import enum
import inspect
import textwrap


def class_doc(cls: type) -> str:
    """Return the class's docstring with each paragraph on one line; "" if it has none."""
    doc = inspect.cleandoc(cls.__doc__ or "")
    paragraphs = [" ".join(paragraph.split()) for paragraph in doc.split("\n\n")]
    if issubclass(cls, enum.Enum):
        members = attribute_docs(cls)
        paragraphs += [
            f"{cls[name].value}: {text}"
            for name, text in members.items()
            if name in cls.__members__
        ]
    return "\n\n".join(paragraphs)


def attribute_docs(cls: type) -> dict[str, str]:
    """Return the string literals that follow attributes in the class's body, by attribute.

    A class without source (made in an interpreter) has none.
    """
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):
        return {}
    (definition,) = ast.parse(textwrap.dedent(source)).body
    docs: dict[str, str] = {}
    if not isinstance(definition, ast.ClassDef):
        return docs
    for statement, following in zip(definition.body, definition.body[1:], strict=False):
        name = _assigned_name(statement)
        if name is not None and isinstance(following, ast.Expr):
            literal = following.value
            if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
                docs[name] = " ".join(literal.value.split())
    return docs


def _assigned_name(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return None
