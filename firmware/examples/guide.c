/*
 * The code of docs/programming.md. Parts between "snippet" and "end" are quoted there;
 * tests/firmware/test_guide.py compiles and runs them, and compares the quotations.
 */
#include "guide.h"

/* snippet: image */
enum blockcim_code infer(volatile uint32_t *registers, const uint32_t *memory, uint32_t words,
                         uint32_t *output, uint32_t room)
{
    static struct blockcim core;
    static struct blockcim_image image;

    core = (struct blockcim){.registers = registers, .polls = 1000000};
    enum blockcim_code code = blockcim_probe(&core);
    if (code == BLOCKCIM_OK)
        code = blockcim_image_open(&image, memory, words);
    if (code == BLOCKCIM_OK)
        code = blockcim_boot(&core, &image, BLOCKCIM_DMA);
    if (code == BLOCKCIM_OK)
        code = blockcim_run_image(&core, &image, NULL, output, room, BLOCKCIM_DMA);
    return code;
}
/* end */

/* snippet: start */
enum blockcim_code overlap(struct blockcim *core, const struct blockcim_run *run,
                           void (*meanwhile)(void))
{
    enum blockcim_code code = blockcim_start(core, run, BLOCKCIM_DMA);
    if (code == BLOCKCIM_OK) {
        do {
            meanwhile();
            code = blockcim_poll(core);
        } while (code == BLOCKCIM_PENDING);
    }
    return code;
}
/* end */

/* snippet: sleep */
static void sleep_until_interrupt(void *context)
{
    struct blockcim *core = context;
    disable_interrupts();
    if (!core->interrupted)
        wait_for_any_interrupt(); /* also wakes while they are disabled, as WFI does */
    enable_interrupts();          /* the handler runs now, and calls blockcim_interrupt(core) */
}

enum blockcim_code sleeping(struct blockcim *core, const struct blockcim_run *run)
{
    struct blockcim_platform platform = {.context = core,
                                         .wait_for_interrupt = sleep_until_interrupt};
    core->platform = &platform;
    enum blockcim_code code = blockcim_start(core, run, BLOCKCIM_DMA | BLOCKCIM_INTERRUPT);
    if (code == BLOCKCIM_OK)
        code = blockcim_wait(core);
    core->platform = NULL;
    return code;
}
/* end */

/* snippet: recover */
enum blockcim_code patient(struct blockcim *core, const struct blockcim_image *image,
                           uint32_t *output, uint32_t room)
{
    enum blockcim_code code = BLOCKCIM_TIMEOUT;
    for (int tries = 0; tries < 3 && code != BLOCKCIM_OK; tries++) {
        code = blockcim_run_image(core, image, NULL, output, room, BLOCKCIM_DMA);
        if (code == BLOCKCIM_BUSY || code == BLOCKCIM_TIMEOUT) {
            enum blockcim_code stopped = blockcim_reset(core);
            if (stopped != BLOCKCIM_OK)
                return stopped; /* the core or memory does not answer at all */
        } else if (code == BLOCKCIM_CORE_ERROR) {
            code = blockcim_boot(core, image, BLOCKCIM_COPY); /* was the program damaged? */
            if (code == BLOCKCIM_OK)
                code = BLOCKCIM_CORE_ERROR;
        } else {
            break; /* a mistake of the caller: nothing to try again */
        }
    }
    return code;
}
/* end */

/* snippet: counters */
uint32_t percent_busy(struct blockcim *core)
{
    struct blockcim_counters counters;
    blockcim_read_counters(core, &counters);
    return counters.cycles ? 100 * counters.busy_pass / counters.cycles : 0;
}
/* end */
