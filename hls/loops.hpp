// What the C simulation counts and the estimate predicts: iterations of every
// pipelined loop, and bursts on every memory port.
#pragma once

namespace sbfp {

enum Loop : int {
    COUNT_FETCH_TILE,
    COUNT_PAD,
    COUNT_UNPACK_TILE,
    COUNT_INPUT_POOL,
    COUNT_LOAD_TILE,
    COUNT_FETCH_WEIGHTS,
    COUNT_LOAD_BIAS,
    COUNT_LOAD_ALIGN,
    COUNT_LOAD_DENSE,
    COUNT_LOAD_DEPTHWISE,
    COUNT_FETCH_SHORTCUT,
    COUNT_LOAD_SHORTCUT,
    COUNT_CONV,
    COUNT_DEPTHWISE,
    COUNT_MAX_POOL,
    COUNT_AVG_POOL,
    COUNT_ADD,
    COUNT_EPILOGUE,
    COUNT_FUSED_POOL,
    COUNT_PACK,
    COUNT_STORE,
    BURSTS_IN,
    BURSTS_WEIGHTS,
    BURSTS_SHORTCUT,
    BURSTS_OUT,
    LOOPS
};

}  // namespace sbfp
