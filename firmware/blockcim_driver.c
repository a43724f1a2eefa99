/* The driver of blockcim_driver.h. Registers and codes are those of rtl/spec/regmap.py. */
#include "blockcim_driver.h"

#include <stdatomic.h>
#include <stdbool.h>

/* A field of a register's value, and one bit of it. */
#define FIELD(value, name) (((value) & BLOCKCIM_##name##_MASK) >> BLOCKCIM_##name##_SHIFT)

/* Inlined into every access, these two would be a third of the driver. */
#if defined(__GNUC__)
#define SMALL __attribute__((noinline))
#else
#define SMALL
#endif

static SMALL uint32_t get(struct blockcim *core, uint32_t offset)
{
    const struct blockcim_platform *platform = core->platform;
    if (platform && platform->read)
        return platform->read(platform->context, offset);
    return core->registers[offset / 4];
}

static SMALL void put(struct blockcim *core, uint32_t offset, uint32_t value)
{
    const struct blockcim_platform *platform = core->platform;
    if (platform && platform->write)
        platform->write(platform->context, offset, value);
    else
        core->registers[offset / 4] = value;
}

/* count / part, and what is left in `*rest`; by shifts, since RV32I does not divide. part > 0. */
static uint32_t divide(uint32_t count, uint32_t part, uint32_t *rest)
{
    uint32_t quotient = 0, step = part, one = 1;
    for (; step <= count / 2; step *= 2)
        one *= 2;
    for (; one; one /= 2, step /= 2)
        if (count >= step) {
            count -= step;
            quotient += one;
        }
    *rest = count;
    return quotient;
}

static bool whole(uint32_t count, uint32_t part)
{
    uint32_t rest;
    (void)divide(count, part, &rest);
    return rest == 0;
}

/* -- hardware and images ----------------------------------------------------------------------- */

enum blockcim_code blockcim_probe(struct blockcim *core)
{
    struct blockcim_capabilities *has = &core->has;
    if (get(core, BLOCKCIM_REG_ID) != BLOCKCIM_ID_VALUE)
        return BLOCKCIM_NO_CORE;
    uint32_t version = get(core, BLOCKCIM_REG_VERSION);
    if (FIELD(version, VERSION_ISA) != BLOCKCIM_ISA_VERSION ||
        FIELD(version, VERSION_PERIPHERAL) != BLOCKCIM_PERIPHERAL_VERSION)
        return BLOCKCIM_BAD_VERSION;
    has->config_hash = get(core, BLOCKCIM_REG_CONFIG_HASH);
    uint32_t value = get(core, BLOCKCIM_REG_CAP_ARRAY);
    has->rows = FIELD(value, CAP_ARRAY_ROWS);
    has->cols = FIELD(value, CAP_ARRAY_COLS);
    value = get(core, BLOCKCIM_REG_CAP_CORE);
    has->tiles = FIELD(value, CAP_CORE_TILES);
    has->lanes = FIELD(value, CAP_CORE_LANES);
    value = get(core, BLOCKCIM_REG_CAP_FORMAT);
    has->granule = FIELD(value, CAP_FORMAT_GRANULE);
    has->weight_bits = FIELD(value, CAP_FORMAT_WEIGHT_BITS);
    has->act_bits = FIELD(value, CAP_FORMAT_ACT_BITS);
    value = get(core, BLOCKCIM_REG_CAP_BUFFERS);
    has->act_depth = FIELD(value, CAP_BUFFERS_ACT) + 1;
    has->const_depth = FIELD(value, CAP_BUFFERS_CONST) + 1;
    has->prog_depth = get(core, BLOCKCIM_REG_CAP_PROG);
    value = get(core, BLOCKCIM_REG_CAP_BEAT);
    has->beat_words = FIELD(value, CAP_BEAT_WORDS);
    has->fifo_words = FIELD(value, CAP_BEAT_FIFO);
    return BLOCKCIM_OK;
}

enum blockcim_code blockcim_image_open(struct blockcim_image *image, const uint32_t *memory,
                                       uint32_t available)
{
    struct blockcim_span *const sections[BLOCKCIM_IMAGE_SECTIONS] = {
        &image->boot, &image->boot_input, &image->program, &image->input, &image->output};
    if (!memory)
        return BLOCKCIM_BAD_ARGUMENT;
    if (available < BLOCKCIM_IMAGE_HEADER_WORDS)
        return BLOCKCIM_IMAGE_TRUNCATED;
    if (memory[BLOCKCIM_IMAGE_WORD_MAGIC] != BLOCKCIM_IMAGE_MAGIC)
        return BLOCKCIM_IMAGE_NO_MAGIC;
    if (memory[BLOCKCIM_IMAGE_WORD_VERSION] != BLOCKCIM_IMAGE_VERSION)
        return BLOCKCIM_IMAGE_BAD_VERSION;
    uint32_t words = memory[BLOCKCIM_IMAGE_WORD_WORDS];
    if (words > available)
        return BLOCKCIM_IMAGE_TRUNCATED;
    if (words < BLOCKCIM_IMAGE_HEADER_WORDS)
        return BLOCKCIM_IMAGE_BAD_SIZE;
    const uint32_t *body = memory + BLOCKCIM_IMAGE_HEADER_WORDS;
    uint32_t left = words - BLOCKCIM_IMAGE_HEADER_WORDS, sum = 0;
    for (uint32_t i = 0; i < left; i++)
        sum += body[i];
    for (uint32_t i = 0; i < BLOCKCIM_IMAGE_SECTIONS; i++) {
        uint32_t count = memory[BLOCKCIM_IMAGE_WORD_BOOT + i];
        if (count > left)
            return BLOCKCIM_IMAGE_BAD_SIZE;
        sections[i]->words = body;
        sections[i]->count = count;
        body += count;
        left -= count;
    }
    image->instruction = memory[BLOCKCIM_IMAGE_WORD_INSTRUCTION];
    if (left || !image->instruction || !whole(image->boot.count, image->instruction) ||
        !whole(image->program.count, image->instruction))
        return BLOCKCIM_IMAGE_BAD_SIZE;
    if (sum != memory[BLOCKCIM_IMAGE_WORD_SUM])
        return BLOCKCIM_IMAGE_BAD_SUM;
    image->config_hash = memory[BLOCKCIM_IMAGE_WORD_CONFIG_HASH];
    image->length = memory[BLOCKCIM_IMAGE_WORD_LENGTH];
    image->cycles = memory[BLOCKCIM_IMAGE_WORD_CYCLES];
    return BLOCKCIM_OK;
}

/* Whether the image is for this hardware: configuration, whole beats, programs that fit. */
static enum blockcim_code accept(struct blockcim *core, const struct blockcim_image *image)
{
    const struct blockcim_capabilities *has = &core->has;
    if (!has->beat_words || image->config_hash != has->config_hash)
        return BLOCKCIM_BAD_CONFIG;
    uint32_t beat = has->beat_words, rest;
    if (!whole(image->boot_input.count, beat) || !whole(image->input.count, beat) ||
        !whole(image->output.count, beat))
        return BLOCKCIM_IMAGE_BAD_SIZE;
    if (divide(image->boot.count, image->instruction, &rest) > has->prog_depth ||
        divide(image->program.count, image->instruction, &rest) > has->prog_depth)
        return BLOCKCIM_PROGRAM_TOO_LONG;
    return BLOCKCIM_OK;
}

/* -- failures ---------------------------------------------------------------------------------- */

enum blockcim_code blockcim_reset(struct blockcim *core)
{
    core->run = (struct blockcim_run){0};
    put(core, BLOCKCIM_REG_IRQ_ENABLE, 0);
    put(core, BLOCKCIM_REG_CTRL, BLOCKCIM_CTRL_RESET_MASK);
    for (uint32_t polls = core->polls; polls; polls--)
        /* What DMA has asked memory for comes back, and is dropped. */
        if (!get(core, BLOCKCIM_REG_STATUS) && !get(core, BLOCKCIM_REG_DMA_BUSY))
            return BLOCKCIM_OK;
    return BLOCKCIM_TIMEOUT;
}

/* Keep what the registers say about a failure, and stop everything. */
static enum blockcim_code fail(struct blockcim *core, enum blockcim_code code)
{
    core->fault = (enum blockcim_fault)get(core, BLOCKCIM_REG_FAULT);
    core->error = (enum blockcim_error)get(core, BLOCKCIM_REG_ERROR);
    core->error_pc = get(core, BLOCKCIM_REG_ERROR_PC);
    (void)blockcim_reset(core);
    return code;
}

/* The code for STATUS bit error: of a fault, if there is one, else of the program. */
static enum blockcim_code failed(struct blockcim *core)
{
    enum blockcim_code code = fail(core, BLOCKCIM_CORE_ERROR);
    if (core->fault == BLOCKCIM_FAULT_FULL)
        return BLOCKCIM_RESULT_TOO_SMALL;
    return core->fault != BLOCKCIM_FAULT_NONE ? BLOCKCIM_FAULT : code;
}

/* What a run or a load needs: an idle core, and no codes of earlier ones. */
static enum blockcim_code ready(struct blockcim *core)
{
    if (get(core, BLOCKCIM_REG_STATUS) & BLOCKCIM_STATUS_BUSY_MASK)
        return BLOCKCIM_BUSY;
    core->error = BLOCKCIM_ERROR_NONE;
    core->error_pc = 0;
    core->fault = BLOCKCIM_FAULT_NONE;
    return BLOCKCIM_OK;
}

/* The bus address of memory for DMA in a register; false if DMA cannot reach it. */
static bool put_address(struct blockcim *core, uint32_t offset, const void *pointer)
{
    const struct blockcim_platform *platform = core->platform;
    uint32_t address = (uint32_t)(uintptr_t)pointer;
    if (platform && platform->bus_address)
        address = platform->bus_address(platform->context, pointer);
    put(core, offset, address);
    return address && address % 4 == 0;
}

/* -- programs ---------------------------------------------------------------------------------- */

static enum blockcim_code load_by_dma(struct blockcim *core, const uint32_t *words, uint32_t count)
{
    if (!put_address(core, BLOCKCIM_REG_DMA_IN_ADDR, words))
        return BLOCKCIM_BAD_ARGUMENT;
    put(core, BLOCKCIM_REG_CTRL, BLOCKCIM_CTRL_CLEAR_MASK);
    put(core, BLOCKCIM_REG_DMA_IN_WORDS, count);
    atomic_thread_fence(memory_order_seq_cst);
    put(core, BLOCKCIM_REG_DMA_START, BLOCKCIM_DMA_START_PROGRAM_MASK);
    for (uint32_t polls = core->polls; polls; polls--) {
        bool busy = get(core, BLOCKCIM_REG_DMA_BUSY) & BLOCKCIM_DMA_BUSY_PROGRAM_MASK;
        if (get(core, BLOCKCIM_REG_STATUS) & BLOCKCIM_STATUS_ERROR_MASK)
            return failed(core);
        if (!busy)
            return BLOCKCIM_OK;
    }
    return fail(core, BLOCKCIM_TIMEOUT);
}

enum blockcim_code blockcim_load(struct blockcim *core, const uint32_t *words, uint32_t count,
                                 unsigned how)
{
    if (!words || !count)
        return BLOCKCIM_BAD_ARGUMENT;
    enum blockcim_code code = ready(core);
    if (code != BLOCKCIM_OK)
        return code;
    if (how & BLOCKCIM_DMA)
        return load_by_dma(core, words, count);
    put(core, BLOCKCIM_REG_PROG_ADDR, 0);
    while (count--)
        put(core, BLOCKCIM_REG_PROG_DATA, *words++);
    return BLOCKCIM_OK;
}

/* -- runs -------------------------------------------------------------------------------------- */

enum blockcim_code blockcim_start(struct blockcim *core, const struct blockcim_run *run,
                                  unsigned how)
{
    if ((run->input_words && !run->input) || (run->output_words && !run->output))
        return BLOCKCIM_BAD_ARGUMENT;
    enum blockcim_code code = ready(core);
    if (code != BLOCKCIM_OK)
        return code;
    uint32_t channels = 0;
    if (how & BLOCKCIM_DMA) {
        /* The output channel runs even for no words: it is what notices more output. */
        channels = BLOCKCIM_DMA_START_OUTPUT_MASK;
        if (run->output_words && !put_address(core, BLOCKCIM_REG_DMA_OUT_ADDR, run->output))
            return BLOCKCIM_BAD_ARGUMENT;
        put(core, BLOCKCIM_REG_DMA_OUT_WORDS, run->output_words);
        if (run->input_words) {
            channels |= BLOCKCIM_DMA_START_INPUT_MASK;
            if (!put_address(core, BLOCKCIM_REG_DMA_IN_ADDR, run->input))
                return BLOCKCIM_BAD_ARGUMENT;
            put(core, BLOCKCIM_REG_DMA_IN_WORDS, run->input_words);
        }
    }
    core->run = *run;
    core->left = run->output_words;
    core->how = how;
    core->interrupted = 0;
    put(core, BLOCKCIM_REG_MODE, BLOCKCIM_MODE_SOURCE_MASK | BLOCKCIM_MODE_SINK_MASK);
    put(core, BLOCKCIM_REG_LEN, run->length);
    put(core, BLOCKCIM_REG_IRQ_ENABLE, how & BLOCKCIM_INTERRUPT ? 1 : 0);
    /* Memory is written before DMA reads it. The core first: its start clears faults. */
    atomic_thread_fence(memory_order_seq_cst);
    put(core, BLOCKCIM_REG_CTRL, BLOCKCIM_CTRL_START_MASK);
    if (channels)
        put(core, BLOCKCIM_REG_DMA_START, channels);
    return BLOCKCIM_OK;
}

/* Copy what the FIFOs have and take; the words that moved. `fifo` is the value of register FIFO. */
static uint32_t copy(struct blockcim *core, uint32_t fifo)
{
    struct blockcim_run *run = &core->run;
    uint32_t in = FIELD(fifo, FIFO_IN_FREE), out = FIELD(fifo, FIFO_OUT_LEVEL);
    if (in > run->input_words)
        in = run->input_words;
    if (out > run->output_words)
        out = run->output_words;
    run->input_words -= in;
    run->output_words -= out;
    uint32_t moved = in + out;
    while (out--)
        *run->output++ = get(core, BLOCKCIM_REG_OUT_DATA);
    while (in--)
        put(core, BLOCKCIM_REG_IN_DATA, *run->input++);
    return moved;
}

/* One poll; `*moved` is set to the words that moved. */
static enum blockcim_code step(struct blockcim *core, uint32_t *moved)
{
    struct blockcim_run *run = &core->run;
    bool dma = core->how & BLOCKCIM_DMA;
    /* STATUS first: what it says is done has all its output in the FIFO or behind it. */
    uint32_t status = get(core, BLOCKCIM_REG_STATUS);
    if (status & BLOCKCIM_STATUS_ERROR_MASK)
        return failed(core);
    if (dma) {
        uint32_t left = run->output_words - get(core, BLOCKCIM_REG_DMA_OUT_COUNT);
        *moved = core->left - left;
        core->left = left;
    } else {
        uint32_t fifo = get(core, BLOCKCIM_REG_FIFO);
        if (!core->left && FIELD(fifo, FIFO_OUT_LEVEL))
            return fail(core, BLOCKCIM_RESULT_TOO_SMALL);
        *moved = copy(core, fifo);
        core->left = run->output_words;
    }
    if (!(status & BLOCKCIM_STATUS_DONE_MASK) || core->left)
        return BLOCKCIM_PENDING;
    uint32_t fifo = get(core, BLOCKCIM_REG_FIFO);
    if (FIELD(fifo, FIFO_OUT_LEVEL))
        return fail(core, BLOCKCIM_RESULT_TOO_SMALL);
    if (get(core, BLOCKCIM_REG_STATUS) & BLOCKCIM_STATUS_ERROR_MASK)
        return failed(core); /* DMA has met more output meanwhile */
    if (FIELD(fifo, FIFO_IN_FREE) != core->has.fifo_words || (run->input_words && !dma))
        return fail(core, BLOCKCIM_INPUT_LEFT);
    put(core, BLOCKCIM_REG_DMA_STOP, BLOCKCIM_DMA_STOP_OUTPUT_MASK);
    put(core, BLOCKCIM_REG_IRQ_ENABLE, 0);
    atomic_thread_fence(memory_order_seq_cst);
    return BLOCKCIM_OK;
}

enum blockcim_code blockcim_poll(struct blockcim *core)
{
    uint32_t moved;
    return step(core, &moved);
}

enum blockcim_code blockcim_wait(struct blockcim *core)
{
    const struct blockcim_platform *platform = core->platform;
    const struct blockcim_run *run = &core->run;
    uint32_t moved, polls = core->polls;
    for (;;) {
        enum blockcim_code code = step(core, &moved);
        if (code != BLOCKCIM_PENDING)
            return code;
        if (moved)
            polls = core->polls;
        else if (!polls--)
            break;
        /* Sleep when there is nothing to copy until the end, which has not come yet. */
        bool idle = core->how & BLOCKCIM_DMA || !(run->input_words || run->output_words);
        if (core->how & BLOCKCIM_INTERRUPT && idle && !core->interrupted && platform &&
            platform->wait_for_interrupt)
            platform->wait_for_interrupt(platform->context);
    }
    uint32_t status = get(core, BLOCKCIM_REG_STATUS);
    return fail(core, status & BLOCKCIM_STATUS_DONE_MASK ? BLOCKCIM_RESULT_SHORT
                                                         : BLOCKCIM_TIMEOUT);
}

void blockcim_interrupt(struct blockcim *core)
{
    put(core, BLOCKCIM_REG_IRQ_ENABLE, 0);
    core->interrupted = 1;
}

void blockcim_read_counters(struct blockcim *core, struct blockcim_counters *counters)
{
    counters->cycles = get(core, BLOCKCIM_REG_CYCLES);
    counters->busy_in = get(core, BLOCKCIM_REG_BUSY_IN);
    counters->busy_load = get(core, BLOCKCIM_REG_BUSY_LOAD);
    counters->busy_pass = get(core, BLOCKCIM_REG_BUSY_PASS);
    counters->busy_drain = get(core, BLOCKCIM_REG_BUSY_DRAIN);
    counters->busy_out = get(core, BLOCKCIM_REG_BUSY_OUT);
    counters->pass_tiles = get(core, BLOCKCIM_REG_PASS_TILES);
    counters->issued = get(core, BLOCKCIM_REG_ISSUED);
}

/* -- images ------------------------------------------------------------------------------------ */

static enum blockcim_code run_to_end(struct blockcim *core, const struct blockcim_run *run,
                                     unsigned how)
{
    enum blockcim_code code = blockcim_start(core, run, how);
    return code == BLOCKCIM_OK ? blockcim_wait(core) : code;
}

enum blockcim_code blockcim_boot(struct blockcim *core, const struct blockcim_image *image,
                                 unsigned how)
{
    enum blockcim_code code = accept(core, image);
    if (code == BLOCKCIM_OK && image->boot.count) {
        code = blockcim_load(core, image->boot.words, image->boot.count, how);
        if (code == BLOCKCIM_OK) {
            struct blockcim_run run = {image->boot_input.words, image->boot_input.count, NULL, 0, 0};
            code = run_to_end(core, &run, how);
        }
    }
    if (code != BLOCKCIM_OK)
        return code;
    return blockcim_load(core, image->program.words, image->program.count, how);
}

enum blockcim_code blockcim_run_image(struct blockcim *core, const struct blockcim_image *image,
                                      const uint32_t *input, uint32_t *output, uint32_t room,
                                      unsigned how)
{
    enum blockcim_code code = accept(core, image);
    if (code != BLOCKCIM_OK)
        return code;
    if (room < image->output.count)
        return BLOCKCIM_RESULT_TOO_SMALL;
    struct blockcim_run run = {input ? input : image->input.words, image->input.count, output,
                               image->output.count, image->length};
    return run_to_end(core, &run, how);
}
