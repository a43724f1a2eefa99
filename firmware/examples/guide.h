/* The functions of guide.c, and those that it takes from the system. */
#ifndef GUIDE_H
#define GUIDE_H

#include "blockcim_driver.h"

enum blockcim_code infer(volatile uint32_t *registers, const uint32_t *memory, uint32_t words,
                         uint32_t *output, uint32_t room);
enum blockcim_code overlap(struct blockcim *core, const struct blockcim_run *run,
                           void (*meanwhile)(void));
enum blockcim_code sleeping(struct blockcim *core, const struct blockcim_run *run);
enum blockcim_code patient(struct blockcim *core, const struct blockcim_image *image,
                           uint32_t *output, uint32_t room);
uint32_t percent_busy(struct blockcim *core);

void disable_interrupts(void);
void wait_for_any_interrupt(void);
void enable_interrupts(void);

#endif /* GUIDE_H */
