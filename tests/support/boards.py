"""The board of the tests that are not about boards."""

from codegen.performance.board import DEFAULT_BOARD, load_board

BOARD = load_board(DEFAULT_BOARD)
