/*
 * The demo: boots the image that lies in memory, runs it with copies by the CPU and then by DMA,
 * compares with the output that the image expects, and says so on the UART:
 *
 *     blockcim 0x1a2b3c4d: 4 arrays of 16x16, 8 lanes, image of 4387 words
 *     cpu-copy: boot 51234 cycles
 *     cpu-copy: 0 mismatches of 128, 5312 cycles, core busy 4100, alone 3900
 *     cpu-copy: in 90 load 80 pass 700 drain 60 out 128 tiles 1400 issued 96
 *     dma: ...
 *     PASS
 *
 * Cycles are those of the CPU's call, by the timer; "core busy" is register CYCLES; "alone" is what
 * the program takes when streams never wait. A failure is a line with its code, then FAIL.
 */
#include "blockcim_driver.h"
#include "include/blockcim_soc.h"

/* From the link script. */
extern const uint32_t __image[];
extern uint32_t __ram_end[];

int main(void);

static uint32_t read_at(uint32_t address)
{
    return *(volatile uint32_t *)(uintptr_t)address;
}

/* -- text -------------------------------------------------------------------------------------- */

static void character(char c)
{
    while (!(read_at(BLOCKCIM_SOC_UART + BLOCKCIM_REG_UART_STATUS) &
             BLOCKCIM_UART_STATUS_TX_READY_MASK))
        ;
    *(volatile uint32_t *)(uintptr_t)(BLOCKCIM_SOC_UART + BLOCKCIM_REG_UART_DATA) = (uint8_t)c;
}

static void text(const char *string)
{
    while (*string)
        character(*string++);
}

/* A decimal number; by subtraction, since RV32I does not divide. */
static void number(uint32_t value)
{
    static const uint32_t powers[] = {1000000000u, 100000000u, 10000000u, 1000000u, 100000u,
                                      10000u,      1000u,      100u,      10u,      1u};
    int started = 0;
    for (unsigned i = 0; i < sizeof powers / sizeof *powers; i++) {
        char digit = '0';
        for (; value >= powers[i]; value -= powers[i])
            digit++;
        if (digit != '0' || started || powers[i] == 1u)
            character(digit);
        started |= digit != '0';
    }
}

static void hexadecimal(uint32_t value)
{
    text("0x");
    for (int bit = 28; bit >= 0; bit -= 4)
        character("0123456789abcdef"[value >> bit & 15u]);
}

/* Text and a number behind it. */
static void field(const char *name, uint32_t value)
{
    text(name);
    number(value);
}

/* -- the job ----------------------------------------------------------------------------------- */

static uint32_t now(void)
{
    return read_at(BLOCKCIM_SOC_TIMER + BLOCKCIM_REG_TIMER_CYCLES);
}

static int failed(const char *what, const struct blockcim *core, enum blockcim_code code)
{
    text(what);
    field(": code ", (uint32_t)code);
    field(", error ", (uint32_t)core->error);
    field(" at ", core->error_pc);
    field(", fault ", (uint32_t)core->fault);
    text("\n");
    return 0;
}

/* Boot and run in one way; whether all is well. */
static int run(struct blockcim *core, const struct blockcim_image *image, uint32_t *output,
               unsigned how, const char *name)
{
    uint32_t start = now();
    enum blockcim_code code = blockcim_boot(core, image, how);
    if (code != BLOCKCIM_OK)
        return failed(name, core, code);
    text(name);
    field(": boot ", now() - start);
    text(" cycles\n");

    for (uint32_t i = 0; i < image->output.count; i++)
        output[i] = ~image->output.words[i];
    uint32_t room = (uint32_t)(__ram_end - output);
    start = now();
    code = blockcim_run_image(core, image, NULL, output, room, how);
    uint32_t cycles = now() - start;
    if (code != BLOCKCIM_OK)
        return failed(name, core, code);

    uint32_t mismatches = 0;
    for (uint32_t i = 0; i < image->output.count; i++)
        mismatches += output[i] != image->output.words[i];
    struct blockcim_counters counters;
    blockcim_read_counters(core, &counters);
    text(name);
    field(": ", mismatches);
    field(" mismatches of ", image->output.count);
    field(", ", cycles);
    field(" cycles, core busy ", counters.cycles);
    field(", alone ", image->cycles);
    text("\n");
    text(name);
    field(": in ", counters.busy_in);
    field(" load ", counters.busy_load);
    field(" pass ", counters.busy_pass);
    field(" drain ", counters.busy_drain);
    field(" out ", counters.busy_out);
    field(" tiles ", counters.pass_tiles);
    field(" issued ", counters.issued);
    text("\n");
    return mismatches == 0;
}

static int demo(void)
{
    struct blockcim core = {.registers = (volatile uint32_t *)BLOCKCIM_SOC_CORE,
                            .polls = 1000000u};
    struct blockcim_image image;
    enum blockcim_code code = blockcim_probe(&core);
    if (code != BLOCKCIM_OK)
        return failed("probe", &core, code);
    code = blockcim_image_open(&image, __image, (uint32_t)(__ram_end - __image));
    if (code != BLOCKCIM_OK)
        return failed("image", &core, code);
    text("blockcim ");
    hexadecimal(core.has.config_hash);
    field(": ", core.has.tiles);
    field(" arrays of ", core.has.rows);
    field("x", core.has.cols);
    field(", ", core.has.lanes);
    field(" lanes, image of ", __image[BLOCKCIM_IMAGE_WORD_WORDS]);
    text(" words\n");

    /* Results go behind the image. */
    uint32_t *output = (uint32_t *)(uintptr_t)(image.output.words + image.output.count);
    return run(&core, &image, output, BLOCKCIM_COPY, "cpu-copy") &&
           run(&core, &image, output, BLOCKCIM_DMA, "dma");
}

int main(void)
{
    text(demo() ? "PASS\n" : "FAIL\n");
    return 0;
}
