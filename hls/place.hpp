// Words of the input buffer. It has BANKS banks; word number n of a tile lies in
// bank n % BANKS, row n / BANKS. Code generation knows both of every word that
// something starts from: nothing is divided here.
#pragma once

#include <cstdint>

#include "bounded.hpp"
#include "config.hpp"

namespace sbfp {

static_assert(INPUT_WORDS % BANKS == 0, "the input buffer has whole rows of banks");

// The input of one tile is one memory per bank.
constexpr int BANK_ROWS = INPUT_WORDS / BANKS;

// A word of the tile buffer, or a distance between two.
struct Place {
    int32_t row;
    int32_t bank;
};

inline Place first_place() {
#pragma HLS INLINE
    Place p;
    p.row = 0;
    p.bank = 0;
    return p;
}

inline Place choose(bool first, Place a, Place b) {
#pragma HLS INLINE
    Place p;
    p.row = first ? a.row : b.row;
    p.bank = first ? a.bank : b.bank;
    return p;
}

// Beyond the buffer only what is not read any more may move.
inline Place move(Place from, Place by) {
#pragma HLS INLINE
    const int32_t bank = bounded<2 * BANKS - 2>(from.bank + by.bank);
    const bool over = bank >= BANKS;
    Place to;
    to.bank = low_bits<BANKS - 1>(over ? bank - BANKS : bank);
    to.row = low_bits<BANK_ROWS>(from.row + by.row + (over ? 1 : 0));
    return to;
}

}  // namespace sbfp
