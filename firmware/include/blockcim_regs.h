/*
 * blockcim_regs.h: registers, codes and the image, the same for every configuration.
 * Generated from rtl/spec by `python -m gen`; do not edit.
 */
#ifndef BLOCKCIM_REGS_H
#define BLOCKCIM_REGS_H

#include <stdint.h>

#define BLOCKCIM_ISA_VERSION 2 /* instruction set */
#define BLOCKCIM_PERIPHERAL_VERSION 1 /* this register map */
#define BLOCKCIM_ID_VALUE UINT32_C(0x43494d42) /* value of register ID */

/* Registers: byte offsets, 32 bits each; fields by position and mask. */
#define BLOCKCIM_REG_ID 0x00u /* ro: constant that names this core */
#define BLOCKCIM_REG_CONFIG_HASH 0x04u /* ro: hash of parameters and ISA version; drivers refuse a mismatch */
#define BLOCKCIM_REG_CTRL 0x08u /* wo: commands */
#define BLOCKCIM_CTRL_START_SHIFT 0
#define BLOCKCIM_CTRL_START_MASK UINT32_C(0x00000001) /* start at pc 0; ignored while busy */
#define BLOCKCIM_CTRL_CLEAR_SHIFT 1
#define BLOCKCIM_CTRL_CLEAR_MASK UINT32_C(0x00000002) /* clear done, error and interrupt */
#define BLOCKCIM_CTRL_RESET_SHIFT 2
#define BLOCKCIM_CTRL_RESET_MASK UINT32_C(0x00000004) /* soft reset: stop and return to idle, memories kept */
#define BLOCKCIM_REG_STATUS 0x0cu /* ro: state */
#define BLOCKCIM_STATUS_BUSY_SHIFT 0
#define BLOCKCIM_STATUS_BUSY_MASK UINT32_C(0x00000001) /* a program runs */
#define BLOCKCIM_STATUS_DONE_SHIFT 1
#define BLOCKCIM_STATUS_DONE_MASK UINT32_C(0x00000002) /* HALT was reached */
#define BLOCKCIM_STATUS_ERROR_SHIFT 2
#define BLOCKCIM_STATUS_ERROR_MASK UINT32_C(0x00000004) /* stopped by an error (ERROR) or a fault (FAULT) */
#define BLOCKCIM_REG_ERROR 0x10u /* ro: sticky error code (spec/isa.py Error) */
#define BLOCKCIM_REG_ERROR_PC 0x14u /* ro: pc of the instruction that raised the error */
#define BLOCKCIM_REG_IRQ_ENABLE 0x18u /* rw: bit 0: interrupt on done or error */
#define BLOCKCIM_REG_LEN 0x1cu /* rw: run-time length: iterations of a LOOP with use_len, 16 bits */
#define BLOCKCIM_REG_PROG_ADDR 0x20u /* wo: instruction, below prog_depth, that PROG_DATA writes next, low word first */
#define BLOCKCIM_REG_PROG_DATA 0x24u /* wo: write one 32-bit word of the program, low word first; advances by itself */
#define BLOCKCIM_REG_CYCLES 0x28u /* ro: cycles from start to done or error, of the last or running program */
#define BLOCKCIM_REG_BUSY_IN 0x2cu /* ro: cycles with the stream-in unit active (0 without busy_counters) */
#define BLOCKCIM_REG_BUSY_LOAD 0x30u /* ro: cycles with the load unit active (0 without busy_counters) */
#define BLOCKCIM_REG_BUSY_PASS 0x34u /* ro: cycles with at least one tile in a pass (0 without busy_counters) */
#define BLOCKCIM_REG_BUSY_DRAIN 0x38u /* ro: drain steps, all ports together (0 without busy_counters) */
#define BLOCKCIM_REG_BUSY_OUT 0x3cu /* ro: cycles with the stream-out unit active (0 without busy_counters) */
#define BLOCKCIM_REG_PASS_TILES 0x40u /* ro: tile cycles in a pass: sum over tiles (0 without busy_counters) */
#define BLOCKCIM_REG_ISSUED 0x44u /* ro: instructions issued */

/* Registers of the peripheral around the core. */
#define BLOCKCIM_REG_VERSION 0x80u /* ro: versions */
#define BLOCKCIM_VERSION_ISA_SHIFT 0
#define BLOCKCIM_VERSION_ISA_MASK UINT32_C(0x0000ffff) /* instruction set */
#define BLOCKCIM_VERSION_PERIPHERAL_SHIFT 16
#define BLOCKCIM_VERSION_PERIPHERAL_MASK UINT32_C(0xffff0000) /* this register map */
#define BLOCKCIM_REG_CAP_ARRAY 0x84u /* ro: size of an array */
#define BLOCKCIM_CAP_ARRAY_ROWS_SHIFT 0
#define BLOCKCIM_CAP_ARRAY_ROWS_MASK UINT32_C(0x0000ffff) /* weights a column */
#define BLOCKCIM_CAP_ARRAY_COLS_SHIFT 16
#define BLOCKCIM_CAP_ARRAY_COLS_MASK UINT32_C(0xffff0000) /* weights a row */
#define BLOCKCIM_REG_CAP_CORE 0x88u /* ro: size of the core */
#define BLOCKCIM_CAP_CORE_TILES_SHIFT 0
#define BLOCKCIM_CAP_CORE_TILES_MASK UINT32_C(0x0000ffff) /* arrays */
#define BLOCKCIM_CAP_CORE_LANES_SHIFT 16
#define BLOCKCIM_CAP_CORE_LANES_MASK UINT32_C(0xffff0000) /* elements of a buffer word */
#define BLOCKCIM_REG_CAP_FORMAT 0x8cu /* ro: numbers */
#define BLOCKCIM_CAP_FORMAT_GRANULE_SHIFT 0
#define BLOCKCIM_CAP_FORMAT_GRANULE_MASK UINT32_C(0x0000ffff) /* rows and columns of a granule */
#define BLOCKCIM_CAP_FORMAT_WEIGHT_BITS_SHIFT 16
#define BLOCKCIM_CAP_FORMAT_WEIGHT_BITS_MASK UINT32_C(0x00ff0000) /* bits of a weight */
#define BLOCKCIM_CAP_FORMAT_ACT_BITS_SHIFT 24
#define BLOCKCIM_CAP_FORMAT_ACT_BITS_MASK UINT32_C(0xff000000) /* bits of an activation */
#define BLOCKCIM_REG_CAP_BUFFERS 0x90u /* ro: depths of memories, less one */
#define BLOCKCIM_CAP_BUFFERS_ACT_SHIFT 0
#define BLOCKCIM_CAP_BUFFERS_ACT_MASK UINT32_C(0x0000ffff) /* activation words */
#define BLOCKCIM_CAP_BUFFERS_CONST_SHIFT 16
#define BLOCKCIM_CAP_BUFFERS_CONST_MASK UINT32_C(0xffff0000) /* constant words */
#define BLOCKCIM_REG_CAP_PROG 0x94u /* ro: instructions that the program memory holds */
#define BLOCKCIM_REG_CAP_BEAT 0x98u /* ro: streams */
#define BLOCKCIM_CAP_BEAT_WORDS_SHIFT 0
#define BLOCKCIM_CAP_BEAT_WORDS_MASK UINT32_C(0x000000ff) /* 32-bit words of a beat */
#define BLOCKCIM_CAP_BEAT_FIFO_SHIFT 8
#define BLOCKCIM_CAP_BEAT_FIFO_MASK UINT32_C(0x0000ff00) /* words that each FIFO holds */
#define BLOCKCIM_REG_MODE 0x9cu /* rw: where streams come from and go to; change it only when idle */
#define BLOCKCIM_MODE_SOURCE_SHIFT 0
#define BLOCKCIM_MODE_SOURCE_MASK UINT32_C(0x00000001) /* input from 0: the stream port, 1: IN_DATA and DMA */
#define BLOCKCIM_MODE_SINK_SHIFT 1
#define BLOCKCIM_MODE_SINK_MASK UINT32_C(0x00000002) /* output to 0: the stream port, 1: OUT_DATA and DMA */
#define BLOCKCIM_MODE_CHECK_LAST_SHIFT 2
#define BLOCKCIM_MODE_CHECK_LAST_MASK UINT32_C(0x00000004) /* with the stream port: one packet of input a run, see FAULT */
#define BLOCKCIM_REG_FAULT 0xa0u /* ro: sticky fault code (Fault); cleared by CTRL clear, reset and start */
#define BLOCKCIM_REG_IN_DATA 0xa4u /* wo: push a word of input; a bus error, and no push, when the FIFO is full */
#define BLOCKCIM_REG_OUT_DATA 0xa8u /* ro: pop a word of output; 0 when there is none */
#define BLOCKCIM_REG_FIFO 0xacu /* ro: FIFOs */
#define BLOCKCIM_FIFO_IN_FREE_SHIFT 0
#define BLOCKCIM_FIFO_IN_FREE_MASK UINT32_C(0x000000ff) /* words that IN_DATA takes at once */
#define BLOCKCIM_FIFO_OUT_LEVEL_SHIFT 8
#define BLOCKCIM_FIFO_OUT_LEVEL_MASK UINT32_C(0x0000ff00) /* words that OUT_DATA has */
#define BLOCKCIM_REG_DMA_IN_ADDR 0xb0u /* rw: byte address of input or program, a multiple of 4 */
#define BLOCKCIM_REG_DMA_IN_WORDS 0xb4u /* rw: words to read */
#define BLOCKCIM_REG_DMA_OUT_ADDR 0xb8u /* rw: byte address of output, a multiple of 4 */
#define BLOCKCIM_REG_DMA_OUT_WORDS 0xbcu /* rw: words that the output has room for */
#define BLOCKCIM_REG_DMA_OUT_COUNT 0xc0u /* ro: words written since the channel was started */
#define BLOCKCIM_REG_DMA_START 0xc4u /* wo: start channels; a channel that runs is not disturbed */
#define BLOCKCIM_DMA_START_INPUT_SHIFT 0
#define BLOCKCIM_DMA_START_INPUT_MASK UINT32_C(0x00000001) /* input: memory to stream */
#define BLOCKCIM_DMA_START_OUTPUT_SHIFT 1
#define BLOCKCIM_DMA_START_OUTPUT_MASK UINT32_C(0x00000002) /* output: stream to memory */
#define BLOCKCIM_DMA_START_PROGRAM_SHIFT 2
#define BLOCKCIM_DMA_START_PROGRAM_MASK UINT32_C(0x00000004) /* program: memory to PROG_DATA, from instruction 0 on; not beside input */
#define BLOCKCIM_REG_DMA_BUSY 0xc8u /* ro: channels that run; output runs until it is stopped */
#define BLOCKCIM_DMA_BUSY_INPUT_SHIFT 0
#define BLOCKCIM_DMA_BUSY_INPUT_MASK UINT32_C(0x00000001) /* input: memory to stream */
#define BLOCKCIM_DMA_BUSY_OUTPUT_SHIFT 1
#define BLOCKCIM_DMA_BUSY_OUTPUT_MASK UINT32_C(0x00000002) /* output: stream to memory */
#define BLOCKCIM_DMA_BUSY_PROGRAM_SHIFT 2
#define BLOCKCIM_DMA_BUSY_PROGRAM_MASK UINT32_C(0x00000004) /* program: memory to PROG_DATA, from instruction 0 on; not beside input */
#define BLOCKCIM_REG_DMA_STOP 0xccu /* wo: stop channels and forget what they hold */
#define BLOCKCIM_DMA_STOP_INPUT_SHIFT 0
#define BLOCKCIM_DMA_STOP_INPUT_MASK UINT32_C(0x00000001) /* input: memory to stream */
#define BLOCKCIM_DMA_STOP_OUTPUT_SHIFT 1
#define BLOCKCIM_DMA_STOP_OUTPUT_MASK UINT32_C(0x00000002) /* output: stream to memory */
#define BLOCKCIM_DMA_STOP_PROGRAM_SHIFT 2
#define BLOCKCIM_DMA_STOP_PROGRAM_MASK UINT32_C(0x00000004) /* program: memory to PROG_DATA, from instruction 0 on; not beside input */
#define BLOCKCIM_REG_BYTES 256u /* all registers */

/* Values of register ERROR. */
enum blockcim_error {
    BLOCKCIM_ERROR_NONE = 0,
    BLOCKCIM_ERROR_OPCODE = 1, /* unknown or reserved opcode */
    BLOCKCIM_ERROR_TILE = 2, /* a tile range that leaves the core */
    BLOCKCIM_ERROR_ADDRESS = 3, /* a buffer address out of range */
    BLOCKCIM_ERROR_CONST = 4, /* a constant address out of range */
    BLOCKCIM_ERROR_FIELD = 5, /* a count of zero, or a geometry that the array does not have */
    BLOCKCIM_ERROR_LOOP = 6, /* a loop inside a loop */
    BLOCKCIM_ERROR_PC = 7, /* execution ran past the program memory */
    BLOCKCIM_ERROR_DEADLOCK = 8, /* the instruction waits, and nothing is running that could free it */
};

/* Values of register FAULT. */
enum blockcim_fault {
    BLOCKCIM_FAULT_NONE = 0,
    BLOCKCIM_FAULT_SHORT = 1, /* the program wants more input after the beat marked as last (TLAST early) */
    BLOCKCIM_FAULT_LONG = 2, /* the program halted, and the last beat that it took was not marked (TLAST late) */
    BLOCKCIM_FAULT_READ = 3, /* the DMA read of input or of the program was answered with a bus error */
    BLOCKCIM_FAULT_WRITE = 4, /* the DMA write of output was answered with a bus error */
    BLOCKCIM_FAULT_FULL = 5, /* more output than DMA_OUT_WORDS */
};

/* Image: numbers of the header's words; sections follow the header, in order. */
#define BLOCKCIM_IMAGE_MAGIC UINT32_C(0x4d494342)
#define BLOCKCIM_IMAGE_VERSION 1
#define BLOCKCIM_IMAGE_HEADER_WORDS 13
#define BLOCKCIM_IMAGE_SECTIONS 5 /* of which words BOOT to OUTPUT are the lengths */
enum blockcim_image_word {
    BLOCKCIM_IMAGE_WORD_MAGIC = 0, /* MAGIC */
    BLOCKCIM_IMAGE_WORD_VERSION = 1, /* VERSION */
    BLOCKCIM_IMAGE_WORD_CONFIG_HASH = 2, /* configuration that the hardware must have */
    BLOCKCIM_IMAGE_WORD_WORDS = 3, /* words of the whole image, header included */
    BLOCKCIM_IMAGE_WORD_SUM = 4, /* sum of all words behind the header, modulo 2^32 */
    BLOCKCIM_IMAGE_WORD_LENGTH = 5, /* value of register LEN */
    BLOCKCIM_IMAGE_WORD_CYCLES = 6, /* cycles of `program` as the cycle model says, when input and output never wait; 0: unknown */
    BLOCKCIM_IMAGE_WORD_INSTRUCTION = 7, /* words of an instruction; both programs are whole instructions */
    BLOCKCIM_IMAGE_WORD_BOOT = 8, /* words of the boot program, low word of an instruction first; 0: nothing to load */
    BLOCKCIM_IMAGE_WORD_BOOT_INPUT = 9, /* words of its input stream */
    BLOCKCIM_IMAGE_WORD_PROGRAM = 10, /* words of the program */
    BLOCKCIM_IMAGE_WORD_INPUT = 11, /* words of its input stream */
    BLOCKCIM_IMAGE_WORD_OUTPUT = 12, /* words of the expected output stream */
};

#endif /* BLOCKCIM_REGS_H */
