/*
 * For tests/cosim/test_soc.py: accesses that nothing answers or that the peripheral refuses, the
 * interrupt, and the driver, which sleeps until it. Prints the letters of the checks that failed, then
 * PASS or FAIL.
 */
#include "blockcim_driver.h"
#include "include/blockcim_soc.h"

#define NOWHERE 0x90000000u
#define AT(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define TIMER(name) AT(BLOCKCIM_SOC_TIMER + BLOCKCIM_REG_TIMER_##name)
#define CORE(name) AT(BLOCKCIM_SOC_CORE + BLOCKCIM_REG_##name)

/* From the link script. */
extern const uint32_t __image[];
extern uint32_t __ram_end[];

int main(void);

static volatile uint32_t traps, cause, sleeps;
static uint32_t back; /* where a trap returns to */
static int failed;
static struct blockcim core = {.registers = (volatile uint32_t *)BLOCKCIM_SOC_CORE,
                               .polls = 100000u};

static void character(char c)
{
    while (!(AT(BLOCKCIM_SOC_UART + BLOCKCIM_REG_UART_STATUS) & 1u))
        ;
    AT(BLOCKCIM_SOC_UART + BLOCKCIM_REG_UART_DATA) = (uint8_t)c;
}

static void check(char letter, int good)
{
    if (!good) {
        character(letter);
        failed = 1;
    }
}

/* An interrupt: silence the core. A trap: return to where the call came from. */
static void __attribute__((interrupt("machine"), aligned(4))) handler(void)
{
    uint32_t found;
    __asm__ volatile("csrr %0, mcause" : "=r"(found));
    cause = found;
    traps++;
    if (found >> 31)
        blockcim_interrupt(&core);
    else
        __asm__ volatile("csrw mepc, %0" : : "r"(back));
}

static void sleep_until_interrupt(void *context)
{
    sleeps++;
    while (!((struct blockcim *)context)->interrupted)
        ;
}

/* Jump to where there is no memory; the trap returns behind the call. */
static void fetch_nowhere(void)
{
    __asm__ volatile("la t0, 1f\n"
                     "sw t0, 0(%1)\n"
                     "jr %0\n"
                     ".balign 4\n"
                     "1:\n"
                     :
                     : "r"(NOWHERE), "r"(&back)
                     : "t0", "memory");
}

/* A run by DMA, asleep until the interrupt at its end; its output is what the image expects. */
static void run_asleep(void)
{
    static const struct blockcim_platform platform = {
        .context = &core, .wait_for_interrupt = sleep_until_interrupt};
    struct blockcim_image image;
    core.platform = &platform;
    check('l', blockcim_probe(&core) == BLOCKCIM_OK &&
                   blockcim_image_open(&image, __image, (uint32_t)(__ram_end - __image)) ==
                       BLOCKCIM_OK &&
                   blockcim_boot(&core, &image, BLOCKCIM_DMA) == BLOCKCIM_OK);
    uint32_t *output = (uint32_t *)(uintptr_t)(image.output.words + image.output.count);
    traps = 0;
    check('m', blockcim_run_image(&core, &image, NULL, output, (uint32_t)(__ram_end - output),
                                  BLOCKCIM_DMA | BLOCKCIM_INTERRUPT) == BLOCKCIM_OK);
    check('n', sleeps > 0 && traps == 1 && CORE(IRQ_ENABLE) == 0);
    for (uint32_t i = 0; i < image.output.count; i++)
        check('o', output[i] == image.output.words[i]);
}

int main(void)
{
    __asm__ volatile("csrw mtvec, %0" : : "r"(handler));
    check('a', TIMER(BUS_ERROR) == 0);
    check('b', AT(NOWHERE + 4u) == 0 && TIMER(BUS_ERROR) == (NOWHERE + 4u + 1u));
    AT(NOWHERE) = 1; /* the first one stays */
    check('c', TIMER(BUS_ERROR) == (NOWHERE + 4u + 1u));
    TIMER(BUS_ERROR) = 0;
    check('d', TIMER(BUS_ERROR) == 0);
    CORE(ID) = 1; /* read-only */
    check('e', TIMER(BUS_ERROR) == (BLOCKCIM_SOC_CORE + BLOCKCIM_REG_ID + 3u));
    TIMER(BUS_ERROR) = 0;
    check('f', *(volatile uint32_t *)__ram_end == 0 && TIMER(BUS_ERROR) != 0);
    TIMER(BUS_ERROR) = 0;
    check('g', CORE(ID) == 0x43494d42u && TIMER(BUS_ERROR) == 0);

    fetch_nowhere();
    check('h', traps == 1 && cause == 2u && TIMER(BUS_ERROR) == (NOWHERE + 1u));

    /* A program that is illegal ends with an error at once, and with an interrupt. */
    CORE(PROG_ADDR) = 0;
    for (int i = 0; i < 8; i++)
        CORE(PROG_DATA) = 0xffffffffu;
    CORE(IRQ_ENABLE) = 1;
    CORE(CTRL) = 1;
    for (int i = 0; i < 100; i++)
        check('i', traps == 1); /* not yet enabled in the CPU */
    __asm__ volatile("csrs mie, %0\n csrsi mstatus, 8" : : "r"(1u << 11));
    for (int i = 0; i < 100; i++)
        __asm__ volatile("nop");
    check('j', traps == 2 && cause == 0x8000000bu && CORE(IRQ_ENABLE) == 0);

    /* DMA from where there is no memory. */
    CORE(DMA_IN_ADDR) = NOWHERE;
    CORE(DMA_IN_WORDS) = 4;
    CORE(MODE) = 3;
    CORE(DMA_START) = 1;
    for (int i = 0; i < 100; i++)
        __asm__ volatile("nop");
    check('k', CORE(FAULT) == 3u);
    run_asleep();

    character('\n');
    for (const char *c = failed ? "FAIL\n" : "PASS\n"; *c; c++)
        character(*c);
    return 0;
}
