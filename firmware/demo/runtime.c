/* What compilers call even where there is no C library. */
#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int value, size_t size);

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    /* volatile: the loop must not become a call of itself. */
    volatile unsigned char *out = to;
    const unsigned char *in = from;
    while (size--)
        *out++ = *in++;
    return to;
}

void *memset(void *to, int value, size_t size)
{
    volatile unsigned char *out = to;
    while (size--)
        *out++ = (unsigned char)value;
    return to;
}
