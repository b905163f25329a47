/* Statistics against values computed elsewhere: exact fractions for the tests, numpy for the rest.
 */
#include "support/support.h"

#include "task/sampler.h"
#include "task/statistics.h"

#include <math.h>
#include <stdlib.h>

static void assert_near(double value, double expected) {
    if (!(fabs(value - expected) <= 1e-10 * fabs(expected) + 1e-15))
        fail_msg("%.17g, expected %.17g", value, expected);
}

static void test_standard_error(void **state) {
    (void)state;
    assert_near(tl_standard_error(5, 7), 0.18442777839082938);
    assert_near(tl_standard_error(25, 100), 0.04351941398892446);
    assert_near(tl_standard_error(0, 9), 0);
    assert_true(isnan(tl_standard_error(1, 1)));
}

/* Roots of (p̂ - p)² = z² p (1 - p) / n. */
static void test_wilson(void **state) {
    (void)state;
    static const struct {
        int64_t correct, n;
        double low, high;
    } cases[] = {
        {25, 100, 0.17545211362287685, 0.34304463548061587},
        {1, 10, 0.017876213095072906, 0.4041500267952385},
        {570, 570, 0.9933057140406045, 1},
        {0, 7, 0, 0.3543304350666875},
        {628, 1267, 0.46818333933385425, 0.5231609783041556},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double low, high;
        tl_wilson(cases[i].correct, cases[i].n, &low, &high);
        assert_near(low, cases[i].low);
        assert_near(high, cases[i].high);
    }
    double low, high;
    tl_wilson(0, 0, &low, &high);
    assert_true(low == 0 && high == 1);
}

static void test_binomial(void **state) {
    (void)state;
    assert_near(tl_binomial_p(7, 10, 0.5), 0.34375);
    assert_near(tl_binomial_p(5, 10, 0.5), 1);
    assert_near(tl_binomial_p(30, 100, 0.25), 0.24907145667188751);
    assert_near(tl_binomial_p(15, 100, 0.25), 0.020490233437442874);
    assert_near(tl_binomial_p(0, 5, 1.0 / 3), 0.17695473251028807);
    assert_near(tl_binomial_p(628, 1267, 0.5), 0.7787704259273266);
    assert_near(tl_binomial_p(200, 570, 0.25), 8.91621981784896e-08);
    assert_near(tl_binomial_p(3, 3, 1), 1);
    assert_near(tl_binomial_p(2, 3, 1), 0);
    assert_true(isnan(tl_binomial_p(0, 0, 0.5)));
}

static void test_mcnemar(void **state) {
    (void)state;
    assert_near(tl_mcnemar_p(0, 0), 1);
    assert_near(tl_mcnemar_p(5, 5), 1);
    assert_near(tl_mcnemar_p(1, 9), 0.021484375);
    assert_near(tl_mcnemar_p(9, 1), 0.021484375);
    assert_near(tl_mcnemar_p(10, 25), 0.01667384780012071);
    assert_near(tl_mcnemar_p(121, 59), 4.434449263755176e-06);
}

static void test_holm(void **state) {
    (void)state;
    double p[] = {0.01, 0.04, 0.03, 0.005, NAN};
    tl_holm(p, 5);
    assert_near(p[0], 0.03);
    assert_near(p[1], 0.06);
    assert_near(p[2], 0.06);
    assert_near(p[3], 0.02);
    assert_true(isnan(p[4]));
    double large[] = {0.9, 0.8};
    tl_holm(large, 2);
    assert_near(large[0], 1);
    assert_near(large[1], 1);
    tl_holm(NULL, 0);
}

static void test_collapsed(void **state) {
    (void)state;
    assert_true(tl_collapsed((int64_t[]){95, 5, 0}, 3));
    assert_false(tl_collapsed((int64_t[]){94, 6, 0}, 3));
    assert_true(tl_collapsed((int64_t[]){0, 20}, 2));
    assert_false(tl_collapsed((int64_t[]){0, 19}, 2));
    assert_false(tl_collapsed((int64_t[]){0, 0}, 2));
}

static void test_summary(void **state) {
    (void)state;
    double values[] = {5.5, 1.25, 3, 9, 2.5, 8.75, 4};
    tl_summary s;
    tl_summarize(values, 7, &s);
    assert_int_equal(s.n, 7);
    assert_near(s.mean, 4.857142857142857);
    assert_near(s.deviation, 3.0408919430857466);
    assert_near(s.median, 4);
    assert_near(s.p90, 8.85);
    assert_near(s.p99, 8.985);
    assert_near(s.least, 1.25);
    assert_near(s.most, 9);
    tl_summarize(values, 1, &s);
    assert_near(s.p99, 1.25);
    assert_true(isnan(s.deviation));
    tl_summarize(values, 0, &s);
    assert_true(isnan(s.mean));
}

/* The values are CPython's random.Random(1234). */
static void test_sampler_is_cpythons(void **state) {
    (void)state;
    tl_sampler sampler;
    tl_sampler_seed(&sampler, 1234);
    static const uint32_t words[] = {4150886329u, 3342196574u, 1892932127u};
    for (int i = 0; i < 3; i++)
        assert_int_equal(tl_sampler_bits(&sampler, 32), words[i]);
    static const uint32_t six[] = {3, 0, 2, 1, 17, 16}, seven[] = {45, 30, 2, 3, 82, 44, 61},
                          five[] = {630, 474, 152, 93, 187};
    uint32_t chosen[7];
    assert_true(tl_sampler_sample(&sampler, 20, 6, chosen));
    assert_memory_equal(chosen, six, sizeof six);
    assert_true(tl_sampler_sample(&sampler, 85, 7, chosen));
    assert_memory_equal(chosen, seven, sizeof seven);
    assert_true(tl_sampler_sample(&sampler, 1000, 5, chosen));
    assert_memory_equal(chosen, five, sizeof five);
    tl_sampler_seed(&sampler, 0);
    assert_int_equal(tl_sampler_bits(&sampler, 32), 3626764237u);
    static const uint32_t shuffled[] = {3, 4, 0, 1, 2};
    assert_true(tl_sampler_sample(&sampler, 5, 5, chosen));
    assert_memory_equal(chosen, shuffled, sizeof shuffled);
    assert_true(tl_sampler_sample(&sampler, 0, 0, chosen));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standard_error), cmocka_unit_test(test_wilson),
        cmocka_unit_test(test_binomial),       cmocka_unit_test(test_mcnemar),
        cmocka_unit_test(test_holm),           cmocka_unit_test(test_collapsed),
        cmocka_unit_test(test_summary),        cmocka_unit_test(test_sampler_is_cpythons),
    };
    return cmocka_run_group_tests_name("statistics", tests, NULL, NULL);
}
