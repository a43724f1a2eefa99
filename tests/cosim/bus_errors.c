/*
 * For tests/cosim/test_soc.py: accesses that nothing answers or that the peripheral refuses, and the
 * interrupt. Prints the letters of the checks that failed, then PASS or FAIL.
 */
#include "blockcim_driver.h"
#include "include/blockcim_soc.h"

#define NOWHERE 0x90000000u
#define AT(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define TIMER(name) AT(BLOCKCIM_SOC_TIMER + BLOCKCIM_REG_TIMER_##name)
#define CORE(name) AT(BLOCKCIM_SOC_CORE + BLOCKCIM_REG_##name)

extern uint32_t __ram_end[]; /* from the link script */

int main(void);

static volatile uint32_t traps, cause;
static int failed;

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
        CORE(IRQ_ENABLE) = 0;
    else
        __asm__ volatile("csrw mepc, %0" : : "r"(AT(0x3ff0u)));
}

/* Jump to where there is no memory; the trap returns behind the call. */
static void fetch_nowhere(void)
{
    __asm__ volatile("la t0, 1f\n"
                     "li t1, 0x3ff0\n"
                     "sw t0, 0(t1)\n"
                     "jr %0\n"
                     ".balign 4\n"
                     "1:\n"
                     :
                     : "r"(NOWHERE)
                     : "t0", "t1", "memory");
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

    character('\n');
    for (const char *c = failed ? "FAIL\n" : "PASS\n"; *c; c++)
        character(*c);
    return 0;
}
