"""The engines that random graphs run on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from support.boards import BOARD

from bfp import BfpError
from codegen.options import EngineOptions
from codegen.lowering.program import build
from codegen.performance.board import Board, load_board


@dataclass(frozen=True)
class Engine:
    """Engine options of a batch, its board, and the widest mantissas of its graphs.

    Four products share a DSP up to five bits. weights_ahead: words of the queue of weights, if it has one.
    """

    lanes: int
    filters: int
    pixels: int
    weight_steps: int
    tile_blocks: int
    products: int = 0
    widest: int = 8
    board: Board = BOARD
    weights_ahead: int = 0


# full size at 8 and at 5 bits, narrow, tiny buffers that force tiles and chunks; a fast board and a slow one
ENGINES = (
    Engine(16, 8, 5, 256, 512),
    Engine(4, 4, 3, 25, 8, products=4, board=load_board("kv260"), weights_ahead=100),
    Engine(16, 8, 5, 40, 8, widest=5),
    Engine(2, 2, 1, 64, 16, products=1),
    Engine(8, 4, 2, 30, 8, products=2, board=load_board("pynq_z2"), weights_ahead=2000),
    Engine(4, 2, 1, 25, 8, widest=4),
)


def engine_options(artifacts, engine: Engine) -> EngineOptions:
    """Buffers as small as these networks allow (within a quarter), so that tiles are cut.

    The engine's products, or as many as there may be where sums of a network could leave 32 bits between digits.
    """
    kernels = [n.window.kernel for a in artifacts for n in a.graph.nodes]
    steps = max([engine.weight_steps] + [kh * kw for kh, kw in kernels])
    words, products = 64, engine.products
    while True:
        options = EngineOptions(
            engine.lanes,
            engine.filters,
            engine.pixels,
            products,
            words,
            steps,
            engine.tile_blocks,
            weights_ahead=engine.weights_ahead,
        )
        try:
            # neither the weights' values nor their queue decide anything here
            build(artifacts, replace(options, weights_ahead=0), engine.board, with_weights=False)
            return options
        except BfpError as error:
            if products and "engine option products" in str(error):
                products = 0
            elif "raise the engine option input_words" in str(error):
                words += -(-words // 4)
            else:
                raise


def roomy(options: EngineOptions) -> EngineOptions:
    """Rows of windows that are spread over the banks may take twice their width."""
    return replace(options, input_words=2 * options.input_words)
