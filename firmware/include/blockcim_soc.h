/*
 * blockcim_soc.h: the memory map of the SoC.
 * Generated from rtl/spec by `python -m gen`; do not edit.
 */
#ifndef BLOCKCIM_SOC_H
#define BLOCKCIM_SOC_H

#include <stdint.h>

/* Byte addresses. */
#define BLOCKCIM_SOC_RAM UINT32_C(0x00000000)
#define BLOCKCIM_SOC_CORE UINT32_C(0x80000000) /* registers of blockcim_regs.h */
#define BLOCKCIM_SOC_UART UINT32_C(0x80001000)
#define BLOCKCIM_SOC_TIMER UINT32_C(0x80002000)

/* Registers of the UART and of the timer: byte offsets from their bases. */
#define BLOCKCIM_REG_UART_DATA 0x00u /* rw: write: send a byte; read: the byte received, which is then gone */
#define BLOCKCIM_REG_UART_STATUS 0x04u /* ro: state */
#define BLOCKCIM_UART_STATUS_TX_READY_SHIFT 0
#define BLOCKCIM_UART_STATUS_TX_READY_MASK UINT32_C(0x00000001) /* DATA takes a byte */
#define BLOCKCIM_UART_STATUS_RX_VALID_SHIFT 1
#define BLOCKCIM_UART_STATUS_RX_VALID_MASK UINT32_C(0x00000002) /* DATA has a byte */
#define BLOCKCIM_REG_TIMER_CYCLES 0x00u /* ro: low 32 bits of a free-running cycle counter */

#endif /* BLOCKCIM_SOC_H */
