// Test bench: runs the engine on the packed weight image and compares every
// stored tensor with the golden model's mantissas.
//
//   testbench WEIGHTS GOLDEN RESULT.json [layers]
//
// layers: one layer a call, and an array of its own for each port, copied in
// between: co-simulation gives each port a copy of its array for a call.
//
// GOLDEN: "SBFPGOLD", the kernel's identity (8 bytes, little endian), the
// number of images (4 bytes), then per image every tensor of tensors.hpp in
// order, one byte a mantissa, channel by channel, row by row.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "config.hpp"
#include "engine.hpp"
#include "tensors.hpp"
#include "trace.hpp"

namespace {

constexpr int64_t TENSOR_COUNT = static_cast<int64_t>(sizeof(TENSORS) / sizeof(TENSORS[0]));

[[noreturn]] void fail(const std::string &message) {
    std::fprintf(stderr, "testbench: %s\n", message.c_str());
    std::exit(2);
}

void read_exactly(std::FILE *file, void *to, std::size_t bytes, const char *path) {
    if (std::fread(to, 1, bytes, file) != bytes) {
        fail(std::string(path) + " is shorter than the network needs; generate it again");
    }
}

std::FILE *open_file(const char *path, const char *mode) {
    std::FILE *file = std::fopen(path, mode);
    if (!file) {
        fail(std::string("cannot open ") + path);
    }
    return file;
}

std::size_t values(const StoredTensor &t) {
    return static_cast<std::size_t>(t.channels) * static_cast<std::size_t>(t.height) *
           static_cast<std::size_t>(t.width);
}

// Calls visit(channel, word address of its plane, lane) for every lane of the
// tensor's planes; channel is -1 for lanes that hold none.
template <typename Visit>
void for_each_plane(const StoredTensor &t, Visit visit) {
    const int64_t plane = static_cast<int64_t>(t.height) * ((static_cast<int64_t>(t.width) * t.bits + 7) / 8);
    for (int s = 0; s < t.segments; ++s) {
        const Segment &segment = SEGMENTS[t.first_segment + s];
        const int channels = segment.stop - segment.start;
        const int lanes = (channels + sbfp::LANES - 1) / sbfp::LANES * sbfp::LANES;
        for (int c = 0; c < lanes; ++c) {
            visit(c < channels ? segment.start + c : -1, segment.address + c / sbfp::LANES * plane, c % sbfp::LANES);
        }
    }
}

// A tensor's rows start in fresh words; each lane is a stream of `bits` bits per pixel.
int64_t line_words(const StoredTensor &t) { return (static_cast<int64_t>(t.width) * t.bits + 7) / 8; }

uint8_t &byte_at(std::vector<sbfp::Word> &arena, int64_t word, int lane) {
    return reinterpret_cast<uint8_t *>(arena[static_cast<std::size_t>(word)].lane)[lane];
}

// Code of pixel x of a row that starts at `line`.
int read_code(const StoredTensor &t, std::vector<sbfp::Word> &arena, int64_t line, int lane, int x) {
    const int bit = x * t.bits;
    int code = byte_at(arena, line + bit / 8, lane) >> (bit % 8);
    if (bit % 8 + t.bits > 8) {
        code |= byte_at(arena, line + bit / 8 + 1, lane) << (8 - bit % 8);
    }
    return code & ((1 << t.bits) - 1);
}

void write_code(const StoredTensor &t, std::vector<sbfp::Word> &arena, int64_t line, int lane, int x, int code) {
    for (int i = 0; i < t.bits; ++i) {
        const int bit = x * t.bits + i;
        byte_at(arena, line + bit / 8, lane) |= static_cast<uint8_t>(((code >> i) & 1) << (bit % 8));
    }
}

void pack(const StoredTensor &t, const uint8_t *mantissas, std::vector<sbfp::Word> &arena) {
    for_each_plane(t, [&](int channel, int64_t address, int lane) {
        for (int y = 0; y < t.height; ++y) {
            const int64_t line = address + y * line_words(t);
            for (int64_t word = line; word < line + line_words(t); ++word) {
                byte_at(arena, word, lane) = 0;
            }
            for (int x = 0; x < t.width && channel >= 0; ++x) {
                const int64_t at = (static_cast<int64_t>(channel) * t.height + y) * t.width + x;
                write_code(t, arena, line, lane, x, mantissas[at]);
            }
        }
    });
}

int as_mantissa(const StoredTensor &t, int code) {
    return t.is_signed && code >> (t.bits - 1) ? code - (1 << t.bits) : code;
}

struct Tally {
    int64_t mismatches = 0;
    int64_t compared = 0;
    std::string first;
};

void compare(int image, const StoredTensor &t, const uint8_t *golden, std::vector<sbfp::Word> &arena, Tally &tally) {
    const int64_t plane = static_cast<int64_t>(t.height) * t.width;
    const int mask = (1 << t.bits) - 1;
    for_each_plane(t, [&](int channel, int64_t address, int lane) {
        for (int64_t i = 0; i < plane; ++i) {
            const int64_t line = address + i / t.width * line_words(t);
            const int got = read_code(t, arena, line, lane, static_cast<int>(i % t.width));
            const int want = channel < 0 ? 0 : golden[channel * plane + i] & mask;
            if (got == want) {
                continue;
            }
            if (tally.mismatches == 0) {
                tally.first = "image " + std::to_string(image) + ", layer " + t.layer + ", tensor " + t.name +
                              (channel < 0 ? ", unused lane " + std::to_string(lane)
                                           : ", channel " + std::to_string(channel)) +
                              ", row " + std::to_string(i / t.width) + ", column " + std::to_string(i % t.width) +
                              ": golden model " + std::to_string(as_mantissa(t, want)) + ", C simulation " +
                              std::to_string(as_mantissa(t, got));
            }
            ++tally.mismatches;
        }
    });
    tally.compared += static_cast<int64_t>(values(t));
}

// A JSON string, quotes included.
std::string quoted(const std::string &text) {
    std::string out = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            char code[16];
            std::snprintf(code, sizeof(code), "\\u%04x", static_cast<unsigned>(c));
            out += code;
        } else {
            out += c;
        }
    }
    return out + "\"";
}

// The ports of the engine that share the arena on the board.
struct Ports {
    std::vector<sbfp::Word> in;
    std::vector<sbfp::Word> shortcut;
    std::vector<sbfp::Word> out;
};

// The engine says that it stands in no layer once it has ended.
void check_ended(uint32_t progress) {
    if (progress != 0) {
        fail("the engine ended and names layer " + std::to_string(progress - 1) + " as the one that it computes");
    }
}

// One image, one layer a call: what a layer stores, the next one finds in all ports.
void run_by_layers(const std::vector<sbfp::Word> &weights, std::vector<sbfp::Word> &arena, Ports &ports) {
    uint32_t low = 0;
    uint32_t high = 0;
    uint32_t progress = 0;
    ports.out = arena;
    for (uint32_t layer = 0; layer < sbfp::NUM_LAYERS; ++layer) {
        ports.in = ports.out;
        ports.shortcut = ports.out;
        sbfp_engine(weights.data(), ports.in.data(), ports.shortcut.data(), ports.out.data(), layer, layer + 1, &low,
                    &high, &progress);
        check_ended(progress);
        if (low != sbfp::IDENTITY_LOW || high != sbfp::IDENTITY_HIGH) {
            fail("the engine names another identity than its sources");
        }
    }
    arena = ports.out;
}

static_assert(sizeof(LOOP_NAMES) / sizeof(LOOP_NAMES[0]) == sbfp::LOOPS, "every count has a name");

// Loop iterations and bursts of one image, layer by layer.
void write_counts(std::FILE *result, uint32_t images) {
    std::fprintf(result, "\"counts\": [");
    for (uint32_t layer = 0; layer < sbfp::NUM_LAYERS; ++layer) {
        const char *separator = layer ? ", " : "";
        std::fprintf(result, "%s{\"layer\": %s, \"counts\": {", separator, quoted(LAYER_NAMES[layer]).c_str());
        for (int loop = 0; loop < sbfp::LOOPS; ++loop) {
            const int64_t count = sbfp::trace().counts[layer][loop] / (images ? images : 1);
            std::fprintf(result, "%s\"%s\": %lld", loop ? ", " : "", LOOP_NAMES[loop], static_cast<long long>(count));
        }
        std::fprintf(result, "}}");
    }
    std::fprintf(result, "]");
}

// What the golden model expects, at the first image's values. images: how many there are.
std::FILE *open_golden(const char *path, uint32_t &images) {
    std::FILE *golden = open_file(path, "rb");
    char magic[8];
    uint32_t header[3];
    read_exactly(golden, magic, sizeof(magic), path);
    read_exactly(golden, header, sizeof(header), path);
    if (std::memcmp(magic, "SBFPGOLD", sizeof(magic)) != 0 || header[0] != sbfp::IDENTITY_LOW ||
        header[1] != sbfp::IDENTITY_HIGH) {
        fail(std::string(path) + " does not belong to this kernel; generate it again");
    }
    images = header[2];
    return golden;
}

// What the simulation found, written whole or not at all. seconds: of wall clock, and of all threads' time.
void write_result(const char *path, uint32_t images, const Tally &tally, double seconds, double cpu_seconds) {
    const std::string temporary = std::string(path) + ".part";
    std::FILE *result = open_file(temporary.c_str(), "w");
    std::fprintf(result,
                 "{\"images\": %u, \"layers_compared\": %u, \"tensors_compared\": %lld, \"values_compared\": %lld, "
                 "\"mismatches\": %lld, \"first_mismatch\": %s, \"macs\": %lld, \"seconds\": %.6f, "
                 "\"cpu_seconds\": %.6f, ",
                 images, sbfp::NUM_LAYERS, static_cast<long long>(TENSOR_COUNT),
                 static_cast<long long>(tally.compared), static_cast<long long>(tally.mismatches),
                 tally.first.empty() ? "null" : quoted(tally.first).c_str(),
                 static_cast<long long>(MACS) * images, seconds, cpu_seconds);
    write_counts(result, images);
    std::fprintf(result, "}\n");
    if (std::fclose(result) != 0 || std::rename(temporary.c_str(), path) != 0) {
        fail(std::string("cannot write ") + path);
    }
}

}  // namespace

int main(int argc, char **argv) {
    const bool by_layers = argc == 5 && std::strcmp(argv[4], "layers") == 0;
    if (argc != 4 && !by_layers) {
        fail("usage: testbench WEIGHTS GOLDEN RESULT.json [layers]");
    }
    std::vector<sbfp::Word> weights(static_cast<std::size_t>(WEIGHT_WORDS));
    std::FILE *file = open_file(argv[1], "rb");
    read_exactly(file, weights.data(), weights.size() * sizeof(sbfp::Word), argv[1]);
    std::fclose(file);

    uint32_t images = 0;
    std::FILE *golden = open_golden(argv[2], images);

    Tally tally;
    double seconds = 0;
    double cpu_seconds = 0;  // of all threads: what is left of `seconds` on a machine that is busy otherwise
    std::vector<sbfp::Word> arena(static_cast<std::size_t>(FMAP_WORDS));
    Ports ports;
    std::vector<std::vector<uint8_t>> expected(static_cast<std::size_t>(TENSOR_COUNT));
    for (uint32_t image = 0; image < images; ++image) {
        // what the engine fails to write must show
        std::memset(static_cast<void *>(arena.data()), 0xa5, arena.size() * sizeof(sbfp::Word));
        for (int64_t t = 0; t < TENSOR_COUNT; ++t) {
            std::vector<uint8_t> &bytes = expected[static_cast<std::size_t>(t)];
            bytes.resize(values(TENSORS[t]));
            read_exactly(golden, bytes.data(), bytes.size(), argv[2]);
            if (TENSORS[t].layer_index < 0) {
                pack(TENSORS[t], bytes.data(), arena);
            }
        }
        uint32_t low = 0;
        uint32_t high = 0;
        uint32_t progress = 0;
        const std::clock_t cpu = std::clock();
        const auto start = std::chrono::steady_clock::now();
        if (by_layers) {
            run_by_layers(weights, arena, ports);
        } else {
            sbfp_engine(weights.data(), arena.data(), arena.data(), arena.data(), 0, sbfp::NUM_LAYERS, &low, &high,
                        &progress);
            check_ended(progress);
        }
        seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        cpu_seconds += static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
        for (int64_t t = 0; t < TENSOR_COUNT; ++t) {
            compare(static_cast<int>(image), TENSORS[t], expected[static_cast<std::size_t>(t)].data(), arena, tally);
        }
        std::fprintf(stderr, "\rC simulation: image %u of %u, %lld mismatches", image + 1, images,
                     static_cast<long long>(tally.mismatches));
    }
    std::fprintf(stderr, "\n");
    std::fclose(golden);

    write_result(argv[3], images, tally, seconds, cpu_seconds);
    if (tally.mismatches) {
        std::fprintf(stderr, "testbench: first mismatch: %s\n", tally.first.c_str());
    }
    return tally.mismatches ? 1 : 0;
}
