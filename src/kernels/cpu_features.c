#include "kernels/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ARCH_REQUEST_COMPONENT = 0x1023, TILE_DATA = 18 };

/* The register sets that the system saves (XCR0). */
static uint64_t saved_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool has(uint32_t word, int bit) {
    return word >> bit & 1;
}

static bool is_amd(void) {
    uint32_t a, b, c, d;
    return __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx;
}

static uint32_t find(void) {
    uint32_t a, b, c, d, found = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, 27)) return 0; /* OSXSAVE */
    uint64_t saved = saved_state();
    bool fma = has(c, 12), f16c = has(c, 29);
    if ((saved & 0x6) != 0x6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    uint32_t features = b, more = c, tiles = d;
    uint32_t newer = 0;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) newer = a;
    if (!fma || !f16c || !has(features, 5)) return 0;
    found |= TL_CPU_AVX2;
    if (has(newer, 4)) found |= TL_CPU_AVX_VNNI;
    bool avx512 = has(features, 16) && has(features, 17) && has(features, 30) && has(features, 31);
    if ((saved & 0xe0) != 0xe0 || !avx512) return found;
    found |= TL_CPU_AVX512;
    if (has(more, 11)) found |= TL_CPU_AVX512_VNNI;
    if (has(newer, 5)) found |= TL_CPU_AVX512_BF16 | (is_amd() ? TL_CPU_QUICK_BF16 : 0);
    if ((saved & 0x60000) == 0x60000 && has(tiles, 22) && has(tiles, 24) && has(tiles, 25))
        found |= TL_CPU_AMX;
    return found;
}

bool tl_cpu_has(uint32_t features) {
    if ((find() & features) != features) return false;
    return !(features & TL_CPU_AMX) ||
           syscall(SYS_arch_prctl, ARCH_REQUEST_COMPONENT, TILE_DATA) == 0;
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

/* Bits of the auxiliary vector, as the kernel's uapi/asm/hwcap.h numbers them. */
bool tl_cpu_has(uint32_t features) {
    unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);
    uint32_t found = TL_CPU_NEON;
    if (first >> 20 & 1) found |= TL_CPU_DOTPROD;
    if (second >> 13 & 1) found |= TL_CPU_I8MM;
    if (second >> 14 & 1) found |= TL_CPU_BF16;
    return (found & features) == features;
}

#else

bool tl_cpu_has(uint32_t features) {
    return features == 0;
}

#endif
