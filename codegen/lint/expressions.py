"""What the rules ask of expressions: operators, constants, and what a statement writes."""

from __future__ import annotations

import ast
import operator
import re

from clang.cindex import Cursor, CursorKind, Type, TypeKind, conf

from codegen.lint.kernel import Kernel, Scope
from codegen.lint.tree import children_of, walk

K = CursorKind
# CXBinaryOperatorKind and CXUnaryOperatorKind of libclang 17 and later
BINARY = {11: "<", 12: ">", 13: "<=", 14: ">=", 15: "==", 16: "!=", 22: "="}
BINARY.update({23: "*=", 24: "/=", 25: "%=", 26: "+=", 27: "-=", 28: "<<=", 29: ">>=", 30: "&=", 31: "^=", 32: "|="})
UNARY = {1: "++", 2: "--", 3: "++", 4: "--", 5: "&", 10: "!"}
DIVISIONS = {4: "/", 5: "%", 24: "/=", 25: "%="}
MULTIPLY = 3
OPERATIONS = {3: "mul", 23: "mul", 6: "add", 26: "add", 7: "sub", 27: "sub"}  # as BIND_OP names them
CASTS = (K.CXX_STATIC_CAST_EXPR, K.CSTYLE_CAST_EXPR, K.CXX_FUNCTIONAL_CAST_EXPR)
LOGICAL = {20: "&&", 21: "||"}
ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.floordiv}
WRAPPERS = (K.UNEXPOSED_EXPR, K.PAREN_EXPR)


def binary_operator(cursor: Cursor) -> str:
    """Comparison or assignment operator of a binary expression, "" for any other."""
    return BINARY.get(conf.lib.clang_getCursorBinaryOperatorKind(cursor), "")


def division_operator(cursor: Cursor) -> str:
    """``/``, ``%`` or one of them with an assignment, "" for any other cursor."""
    if cursor.kind not in (K.BINARY_OPERATOR, K.COMPOUND_ASSIGNMENT_OPERATOR):
        return ""
    return DIVISIONS.get(conf.lib.clang_getCursorBinaryOperatorKind(cursor), "")


def arithmetic_operator(cursor: Cursor) -> str:
    """``mul``, ``add`` or ``sub`` for a product, sum or difference, "" for any other; looks below casts."""
    cursor = below_casts(cursor)
    if cursor.kind not in (K.BINARY_OPERATOR, K.COMPOUND_ASSIGNMENT_OPERATOR):
        return ""
    return OPERATIONS.get(conf.lib.clang_getCursorBinaryOperatorKind(cursor), "")


def below_casts(cursor: Cursor) -> Cursor:
    """The expression below parentheses and casts, written or not."""
    cursor = unwrap(cursor)
    while cursor.kind in CASTS:
        cursor = unwrap(children_of(cursor)[-1])
    return cursor


def factors(cursor: Cursor) -> tuple[Cursor, Cursor] | None:
    """Both sides of a multiplication, None for any other expression; looks below casts."""
    cursor = below_casts(cursor)
    if cursor.kind != K.BINARY_OPERATOR or conf.lib.clang_getCursorBinaryOperatorKind(cursor) != MULTIPLY:
        return None
    left, right = children_of(cursor)
    return left, right


def logical_operator(cursor: Cursor) -> str:
    """``&&`` or ``||``, "" for any other cursor."""
    if cursor.kind != K.BINARY_OPERATOR:
        return ""
    return LOGICAL.get(conf.lib.clang_getCursorBinaryOperatorKind(cursor), "")


def unary_operator(cursor: Cursor) -> str:
    return UNARY.get(conf.lib.clang_getCursorUnaryOperatorKind(cursor), "")


def unwrap(cursor: Cursor) -> Cursor:
    """The expression below parentheses and implicit conversions."""
    while cursor.kind in WRAPPERS:
        children = children_of(cursor)
        if len(children) != 1:
            break
        cursor = children[0]
    return cursor


def root(cursor: Cursor) -> Cursor | None:
    """The variable that an expression names or lies in: ``walk`` for ``walk.base[0].row``."""
    cursor = unwrap(cursor)
    while cursor.kind in (K.MEMBER_REF_EXPR, K.ARRAY_SUBSCRIPT_EXPR) or unary_operator(cursor) == "&":
        children = children_of(cursor)
        if not children:
            return None
        cursor = unwrap(children[0])
    return cursor.referenced if cursor.kind == K.DECL_REF_EXPR else None


def lies_in(cursor: Cursor, variable: Cursor) -> bool:
    """Whether an expression names a variable or a part of it."""
    named = root(cursor)
    return named is not None and named == variable


def variables(cursor: Cursor) -> list[Cursor]:
    """Variables and constants that are named below a cursor."""
    named = (c.referenced for c in walk(cursor) if c.kind == K.DECL_REF_EXPR)
    wanted = (K.VAR_DECL, K.PARM_DECL, K.ENUM_CONSTANT_DECL, K.TEMPLATE_NON_TYPE_PARAMETER)
    return [c for c in named if c is not None and c.kind in wanted]


def modifies(kind: Type) -> bool:
    """Whether a parameter of this type lets the callee write the argument."""
    kind = kind.get_canonical()
    if kind.kind in (TypeKind.LVALUEREFERENCE, TypeKind.RVALUEREFERENCE, TypeKind.POINTER):
        return not kind.get_pointee().is_const_qualified()
    if kind.kind in (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY):
        return not (kind.is_const_qualified() or element(kind).is_const_qualified())
    return False


def element(kind: Type) -> Type:
    """The type of an array's elements, through all dimensions."""
    kind = kind.get_canonical()
    while kind.kind in (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY, TypeKind.DEPENDENTSIZEDARRAY):
        kind = kind.element_type.get_canonical()
    return kind


def parameters(function: Cursor) -> list[Cursor]:
    return [c for c in children_of(function) if c.kind == K.PARM_DECL]


def written(cursor: Cursor) -> list[Cursor]:
    """Variables that the statements below a cursor assign, step, or hand to a callee that may write them."""
    found: list[Cursor | None] = []
    for c in walk(cursor):
        children = children_of(c)
        if c.kind in (K.BINARY_OPERATOR, K.COMPOUND_ASSIGNMENT_OPERATOR):
            if binary_operator(c).endswith("=") and binary_operator(c) not in ("<=", ">=", "==", "!="):
                found.append(root(children[0]))
        elif c.kind == K.UNARY_OPERATOR and unary_operator(c) in ("++", "--", "&"):
            found.append(root(children[0]))
        elif c.kind == K.CALL_EXPR and c.referenced is not None:
            target = c.referenced
            if target.kind == K.CXX_METHOD and not target.is_const_method() and children:
                found.append(root(children[0]))
            for argument, parameter in zip(c.get_arguments(), parameters(target)):
                if modifies(parameter.type):
                    found.append(root(argument))
    return [c for c in found if c is not None]


def initialiser(variable: Cursor) -> Cursor | None:
    """The expression that a variable starts from."""
    children = [c for c in children_of(variable) if c.kind.is_expression()]
    return children[-1] if children else None


def is_constant(expression: Cursor, kernel: Kernel) -> bool:
    """Whether an expression is known when the kernel is compiled, loops that are unrolled being unrolled."""
    if any(c.kind == K.CALL_EXPR for c in walk(expression)):
        return False
    return all(is_constant_variable(v, kernel) for v in variables(expression)) and not any(
        c.kind == K.MEMBER_REF_EXPR for c in walk(expression)
    )


def is_constant_variable(variable: Cursor, kernel: Kernel) -> bool:
    """Whether a variable is known when the kernel is compiled, loops that are unrolled being unrolled."""
    if variable.kind in (K.ENUM_CONSTANT_DECL, K.TEMPLATE_NON_TYPE_PARAMETER):
        return True
    if variable.kind != K.VAR_DECL:
        return False
    loop = kernel.counters.get(variable.hash)
    if loop is not None:
        return loop.pragma("UNROLL") is not None and has_constant_bound(loop, kernel)
    value = initialiser(variable)
    return variable.type.is_const_qualified() and value is not None and is_constant(value, kernel)


def parts(loop: Scope) -> tuple[Cursor, Cursor, Cursor, Cursor] | None:
    """(induction variable, start, condition, step) of ``for (T i = start; condition; step)``, else None."""
    children = loop.children
    if loop.cursor.kind != K.FOR_STMT or len(children) != 4 or children[0].kind != K.DECL_STMT:
        return None
    declared = children_of(children[0])
    start = initialiser(declared[0]) if len(declared) == 1 else None
    if start is None:
        return None
    return declared[0], start, unwrap(children[1]), unwrap(children[2])


def bound(loop: Scope) -> Cursor | None:
    """What the induction variable is compared with, None where the condition is no such comparison."""
    found = parts(loop)
    if not found or found[2].kind != K.BINARY_OPERATOR or binary_operator(found[2]) not in ("<", "<=", ">", ">="):
        return None
    left, right = children_of(found[2])
    return right if lies_in(left, found[0]) and unwrap(left).kind == K.DECL_REF_EXPR else None


def has_constant_bound(loop: Scope, kernel: Kernel) -> bool:
    """Whether the number of iterations is known when the kernel is compiled."""
    if loop not in kernel.constant_loops:
        found, limit = parts(loop), bound(loop)
        known = found is not None and limit is not None
        kernel.constant_loops[loop] = known and is_constant(found[1], kernel) and is_constant(limit, kernel)
    return kernel.constant_loops[loop]


def constant_value(name: str, kernel: Kernel) -> int | None:
    """Value of a global integer constant of the kernel, None where there is none of that name."""
    for c in kernel.globals:
        if c.spelling == name:
            value = integer_value(c)
            if value is not None:
                return value
    return None


def integer_value(cursor: Cursor) -> int | None:
    """Value of a constant or of an expression of constants, None where the compiler cannot tell."""
    result = conf.lib.clang_Cursor_Evaluate(cursor)
    if not result:
        return None
    value = conf.lib.clang_EvalResult_getAsInt(result)
    conf.lib.clang_EvalResult_dispose(result)
    return value


def expression_value(text: str, kernel: Kernel) -> int | None:
    """Value of whole numbers and constants of the kernel joined by + - * / and parentheses, as pragmas have them."""
    words = re.findall(r"[A-Za-z_]\w*", text)
    values = {word: constant_value(word, kernel) for word in words}
    if not re.fullmatch(r"[\w+\-*/()]+", text) or None in values.values():
        return None
    try:
        return _evaluate(ast.parse(text, mode="eval").body, values)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return None


def _evaluate(node: ast.expr, values: dict[str, int]) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand, values)
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        return ARITHMETIC[type(node.op)](_evaluate(node.left, values), _evaluate(node.right, values))
    raise ValueError("not an arithmetic expression of whole numbers")


def _declare() -> None:
    """Functions of libclang that its Python bindings leave out."""
    from ctypes import c_int, c_void_p

    for name, arguments, result in (
        ("clang_getCursorBinaryOperatorKind", [Cursor], c_int),
        ("clang_getCursorUnaryOperatorKind", [Cursor], c_int),
        ("clang_Cursor_Evaluate", [Cursor], c_void_p),
        ("clang_EvalResult_getAsInt", [c_void_p], c_int),
        ("clang_EvalResult_dispose", [c_void_p], None),
    ):
        function = getattr(conf.lib, name)
        function.argtypes, function.restype = arguments, result


_declare()
