/*
 * blockcim_driver.h: a driver of one core on a bus. C11, no heap, no C library.
 *
 * Fill `struct blockcim`, probe, open an image, boot it, run it:
 *
 *     struct blockcim core = {.registers = (volatile uint32_t *)0x80000000u, .polls = 1000000u};
 *     struct blockcim_image image;
 *     code = blockcim_probe(&core);
 *     code = blockcim_image_open(&image, memory, words);
 *     code = blockcim_boot(&core, &image, BLOCKCIM_DMA);
 *     code = blockcim_run_image(&core, &image, NULL, output, room, BLOCKCIM_DMA);
 *
 * Every function that can fail returns a code. After a failure of hardware the driver has stopped
 * both the core and its DMA, so that memory is the caller's again, and kept what went wrong in
 * `error`, `error_pc` and `fault`. Weights, constants and program stay; the next run may follow
 * at once. What did not stop needs `blockcim_reset`.
 */
#ifndef BLOCKCIM_DRIVER_H
#define BLOCKCIM_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "include/blockcim_regs.h"

/* What functions return. */
enum blockcim_code {
    BLOCKCIM_OK = 0,
    BLOCKCIM_PENDING,          /* blockcim_poll: the run goes on */
    BLOCKCIM_BAD_ARGUMENT,     /* a null pointer with words behind it, or one that DMA cannot reach */
    BLOCKCIM_NO_CORE,          /* register ID is not a core's */
    BLOCKCIM_BAD_VERSION,      /* hardware of another instruction set or register map */
    BLOCKCIM_BAD_CONFIG,       /* the image is for another configuration */
    BLOCKCIM_IMAGE_NO_MAGIC,   /* not an image */
    BLOCKCIM_IMAGE_BAD_VERSION,/* an image of another format */
    BLOCKCIM_IMAGE_TRUNCATED,  /* longer than the memory that holds it */
    BLOCKCIM_IMAGE_BAD_SIZE,   /* sections that do not add up, or are no whole beats or instructions */
    BLOCKCIM_IMAGE_BAD_SUM,    /* damaged */
    BLOCKCIM_PROGRAM_TOO_LONG, /* for the program memory */
    BLOCKCIM_BUSY,             /* a program runs already */
    BLOCKCIM_RESULT_TOO_SMALL, /* more output than the buffer for it holds */
    BLOCKCIM_RESULT_SHORT,     /* the program ended with less output than expected */
    BLOCKCIM_INPUT_LEFT,       /* the program ended with input left over */
    BLOCKCIM_TIMEOUT,          /* nothing moved for `polls` polls */
    BLOCKCIM_CORE_ERROR,       /* the program was stopped: see `error` and `error_pc` */
    BLOCKCIM_FAULT,            /* the peripheral stopped everything: see `fault` */
};

/* How data moves, and how the end of a run is awaited; flags to combine. */
enum blockcim_how {
    BLOCKCIM_COPY = 0,      /* the CPU copies every word */
    BLOCKCIM_DMA = 1,       /* the peripheral reads and writes memory */
    BLOCKCIM_INTERRUPT = 2, /* sleep in the platform's wait_for_interrupt instead of polling */
};

/* What a system provides that differs from the default; any member may be null. */
struct blockcim_platform {
    void *context; /* first argument of each function */
    /* Access to the register at a byte offset; default: through `registers`. */
    uint32_t (*read)(void *context, uint32_t offset);
    void (*write)(void *context, uint32_t offset, uint32_t value);
    /* Sleep until the interrupt, or until a time-out of the system's; default: return at once. */
    void (*wait_for_interrupt)(void *context);
    /* What DMA calls the memory at `pointer`; 0: it cannot reach it. Default: the same address. */
    uint32_t (*bus_address)(void *context, const void *pointer);
};

/* What the hardware is, by its registers. */
struct blockcim_capabilities {
    uint32_t config_hash;
    uint32_t rows, cols, tiles, lanes, granule; /* array and core */
    uint32_t weight_bits, act_bits;
    uint32_t act_depth, const_depth, prog_depth; /* words, words, instructions */
    uint32_t beat_words, fifo_words;             /* 32-bit words of a beat, of each FIFO */
};

/* One run: streams in memory, in 32-bit words, and how often a LOOP with use_len iterates. */
struct blockcim_run {
    const uint32_t *input;
    uint32_t input_words;
    uint32_t *output;
    uint32_t output_words; /* exactly what the program sends */
    uint32_t length;       /* register LEN */
};

/* A core. The caller sets the first three members and zeroes the rest. */
struct blockcim {
    volatile uint32_t *registers; /* or null, if the platform has `read` and `write` */
    const struct blockcim_platform *platform; /* or null */
    uint32_t polls;               /* time-out: polls in a row in which nothing moves */

    struct blockcim_capabilities has; /* set by blockcim_probe */
    enum blockcim_error error;        /* of the last failure, its instruction, */
    uint32_t error_pc;
    enum blockcim_fault fault;        /* and the peripheral's */
    volatile uint32_t interrupted;    /* set by blockcim_interrupt, cleared by a start */

    struct blockcim_run run; /* what the CPU still has to copy of the current run */
    uint32_t left;           /* words of output that are still to come */
    unsigned how;
};

/* A part of an image. */
struct blockcim_span {
    const uint32_t *words;
    uint32_t count;
};

/* An opened image: its header and sections (rtl/spec/image.py). */
struct blockcim_image {
    uint32_t config_hash, length, cycles, instruction;
    struct blockcim_span boot, boot_input, program, input, output;
};

/* Performance counters of the last or the running program. */
struct blockcim_counters {
    uint32_t cycles;
    uint32_t busy_in, busy_load, busy_pass, busy_drain, busy_out;
    uint32_t pass_tiles, issued;
};

/* Check ID and VERSION, and read `has`. */
enum blockcim_code blockcim_probe(struct blockcim *core);

/* Check an image in `available` words of memory, which must stay: nothing is copied. */
enum blockcim_code blockcim_image_open(struct blockcim_image *image, const uint32_t *memory,
                                       uint32_t available);

/* Check that the image is for this hardware, run its boot program (weights and constants) and load
 * its program. */
enum blockcim_code blockcim_boot(struct blockcim *core, const struct blockcim_image *image,
                                 unsigned how);

/* Run the program that blockcim_boot has loaded. `input` has as many words as the image's own,
 * which null stands for; `room` is the words that `output` has. */
enum blockcim_code blockcim_run_image(struct blockcim *core, const struct blockcim_image *image,
                                      const uint32_t *input, uint32_t *output, uint32_t room,
                                      unsigned how);

/* Without an image: load a program of whole instructions from instruction 0 on. */
enum blockcim_code blockcim_load(struct blockcim *core, const uint32_t *words, uint32_t count,
                                 unsigned how);

/* Start a run. Its memory is the driver's until blockcim_poll or blockcim_wait says that it ended. */
enum blockcim_code blockcim_start(struct blockcim *core, const struct blockcim_run *run,
                                  unsigned how);

/* Move what can be moved; BLOCKCIM_PENDING while the run goes on. */
enum blockcim_code blockcim_poll(struct blockcim *core);

/* Poll, or sleep, until the run ends or nothing moves any more. */
enum blockcim_code blockcim_wait(struct blockcim *core);

/* For the system's interrupt handler: note the interrupt, and let the line go low. */
void blockcim_interrupt(struct blockcim *core);

/* Read the performance counters. */
void blockcim_read_counters(struct blockcim *core, struct blockcim_counters *counters);

/* Soft reset: stop everything, forget what streams hold; weights, constants and program stay. */
enum blockcim_code blockcim_reset(struct blockcim *core);

#endif /* BLOCKCIM_DRIVER_H */
