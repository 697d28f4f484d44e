// Test bench: runs the engine on the packed weight image and compares every
// stored tensor with the golden model's mantissas.
//
//   testbench WEIGHTS GOLDEN RESULT.json [layers]
//
// layers: one layer a call, and an array of its own for each port, copied in
// between: co-simulation gives each port a copy of its array for a call.
//
// Images go through in batches of as many as the layers that share weights take
// at once, as the driver does it; the last batch may have fewer.
//
// GOLDEN: "SBFPGOLD", the kernel's identity (8 bytes, little endian), the
// number of images (4 bytes), then per image every tensor of tensors.hpp in
// order, one byte a mantissa, channel by channel, row by row.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "arena.hpp"
#include "config.hpp"
#include "engine.hpp"
#include "map_check.hpp"
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

struct Tally {
    int64_t mismatches = 0;
    int64_t compared = 0;
    std::string first;
};

void compare(uint32_t image, const StoredTensor &t, const uint8_t *golden, int64_t first,
             std::vector<sbfp::Word> &arena, Tally &tally) {
    if (t.on_chip && !sbfp::chip_maps_are_copied()) {
        return;  // a synthesised engine keeps what stays on chip to itself
    }
    const int64_t plane = static_cast<int64_t>(t.height) * t.width;
    const int mask = (1 << t.bits) - 1;
    for_each_plane(t, first, [&](int channel, int64_t address, int lane) {
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

// A call of the engine: its layers, and from which picture's arena on.
struct Run {
    uint32_t begin;
    uint32_t end;
    uint32_t picture;
};

// What so many pictures take. One alone needs a single call, in which places of the others are computed as well.
std::vector<Run> runs_of(uint32_t pictures) {
    std::vector<Run> runs;
    if (pictures == 1) {
        runs.push_back({0, sbfp::NUM_LAYERS, 0});
        return runs;
    }
    for (const Network &network : NETWORKS) {
        for (uint32_t picture = 0; picture < pictures && network.begin < network.shared; ++picture) {
            runs.push_back({network.begin, network.shared, picture});
        }
        if (network.shared < network.end) {
            runs.push_back({network.shared, network.end, 0});
        }
    }
    return runs;
}

// One layer a call: what a layer stores, the next one finds in all ports. Each begins with the arena of the picture.
void run_by_layers(const std::vector<sbfp::Word> &weights, std::vector<sbfp::Word> &arena, const Run &run,
                   Ports &ports) {
    uint32_t low = 0;
    uint32_t high = 0;
    uint32_t progress = 0;
    const auto first = arena.begin() + run.picture * FMAP_WORDS;
    ports.out = arena;
    std::copy(first, arena.end(), ports.out.begin());
    for (uint32_t layer = run.begin; layer < run.end; ++layer) {
        ports.in = ports.out;
        ports.shortcut = ports.out;
        sbfp_engine(weights.data(), ports.in.data(), ports.shortcut.data(), ports.out.data(), layer, layer + 1, &low,
                    &high, &progress);
        check_ended(progress);
        if (low != sbfp::IDENTITY_LOW || high != sbfp::IDENTITY_HIGH) {
            fail("the engine names another identity than its sources");
        }
    }
    std::copy(ports.out.begin(), ports.out.begin() + (arena.end() - first), first);
}

static_assert(sizeof(LOOP_NAMES) / sizeof(LOOP_NAMES[0]) == sbfp::LOOPS, "every count has a name");

// Loop iterations and bursts of one run, layer by layer. runs: of each layer.
void write_counts(std::FILE *result, const std::vector<int64_t> &runs) {
    std::fprintf(result, "\"counts\": [");
    for (uint32_t layer = 0; layer < sbfp::NUM_LAYERS; ++layer) {
        const char *separator = layer ? ", " : "";
        std::fprintf(result, "%s{\"layer\": %s, \"counts\": {", separator, quoted(LAYER_NAMES[layer]).c_str());
        for (int loop = 0; loop < sbfp::LOOPS; ++loop) {
            const int64_t count = sbfp::trace().counts[layer][loop] / (runs[layer] ? runs[layer] : 1);
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

// How often each layer has run, and for how long all of them: of wall clock, and of all threads' time, which is what is
// left of that on a machine that is busy otherwise.
struct Ran {
    std::vector<int64_t> runs = std::vector<int64_t>(sbfp::NUM_LAYERS);
    double seconds = 0;
    double cpu_seconds = 0;
};

// The engine on so many pictures, whose inputs lie in their arenas.
void run_pictures(const std::vector<sbfp::Word> &weights, std::vector<sbfp::Word> &arena, uint32_t pictures,
                  bool by_layers, Ports &ports, Ran &ran) {
    const std::clock_t cpu = std::clock();
    const auto start = std::chrono::steady_clock::now();
    for (const Run &run : runs_of(pictures)) {
        if (by_layers) {
            run_by_layers(weights, arena, run, ports);
        } else {
            uint32_t low = 0;
            uint32_t high = 0;
            uint32_t progress = 0;
            sbfp::Word *maps = arena.data() + run.picture * FMAP_WORDS;
            sbfp_engine(weights.data(), maps, maps, maps, run.begin, run.end, &low, &high, &progress);
            check_ended(progress);
        }
        for (uint32_t layer = run.begin; layer < run.end; ++layer) {
            ++ran.runs[layer];
        }
    }
    ran.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ran.cpu_seconds += static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
}

using Values = std::vector<std::vector<uint8_t>>;  // of every tensor

// The golden values of a picture, and its inputs in its arena. What the engine fails to write there must show.
Values read_picture(std::FILE *golden, const char *path, int64_t first, std::vector<sbfp::Word> &arena) {
    const std::size_t bytes_of_picture = static_cast<std::size_t>(FMAP_WORDS) * sizeof(sbfp::Word);
    std::memset(static_cast<void *>(arena.data() + first), 0xa5, bytes_of_picture);
    Values expected(static_cast<std::size_t>(TENSOR_COUNT));
    for (int64_t t = 0; t < TENSOR_COUNT; ++t) {
        std::vector<uint8_t> &bytes = expected[static_cast<std::size_t>(t)];
        bytes.resize(values(TENSORS[t]));
        read_exactly(golden, bytes.data(), bytes.size(), path);
        if (TENSORS[t].layer_index < 0) {
            pack(TENSORS[t], bytes.data(), first, arena);
        }
    }
    return expected;
}

// What the simulation found, written whole or not at all.
void write_result(const char *path, uint32_t images, const Tally &tally, const Ran &ran) {
    const std::string temporary = std::string(path) + ".part";
    std::FILE *result = open_file(temporary.c_str(), "w");
    std::fprintf(result,
                 "{\"images\": %u, \"layers_compared\": %u, \"tensors_compared\": %lld, \"values_compared\": %lld, "
                 "\"mismatches\": %lld, \"first_mismatch\": %s, \"macs\": %lld, \"seconds\": %.6f, "
                 "\"cpu_seconds\": %.6f, ",
                 images, sbfp::NUM_LAYERS, static_cast<long long>(TENSOR_COUNT),
                 static_cast<long long>(tally.compared), static_cast<long long>(tally.mismatches),
                 tally.first.empty() ? "null" : quoted(tally.first).c_str(),
                 static_cast<long long>(MACS) * images, ran.seconds, ran.cpu_seconds);
    write_counts(result, ran.runs);
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
    Ran ran;
    std::vector<sbfp::Word> arena(static_cast<std::size_t>(BATCH * FMAP_WORDS));
    Ports ports;
    for (uint32_t begin = 0; begin < images; begin += BATCH) {
        const uint32_t pictures = images - begin < BATCH ? images - begin : BATCH;
        // of pictures that a last batch lacks, something is read
        std::memset(static_cast<void *>(arena.data()), 0, arena.size() * sizeof(sbfp::Word));
        std::vector<Values> expected;
        for (uint32_t n = 0; n < pictures; ++n) {
            expected.push_back(read_picture(golden, argv[2], n * FMAP_WORDS, arena));
        }
        run_pictures(weights, arena, pictures, by_layers, ports, ran);
        for (uint32_t n = 0; n < pictures; ++n) {
            for (int64_t t = 0; t < TENSOR_COUNT; ++t) {
                const uint8_t *mantissas = expected[n][static_cast<std::size_t>(t)].data();
                compare(begin + n, TENSORS[t], mantissas, n * FMAP_WORDS, arena, tally);
            }
        }
        std::fprintf(stderr, "\rC simulation: image %u of %u, %lld mismatches", begin + pictures, images,
                     static_cast<long long>(tally.mismatches));
    }
    std::fprintf(stderr, "\n");
    std::fclose(golden);

    write_result(argv[3], images, tally, ran);
    if (tally.mismatches) {
        std::fprintf(stderr, "testbench: first mismatch: %s\n", tally.first.c_str());
    }
    return tally.mismatches ? 1 : 0;
}
