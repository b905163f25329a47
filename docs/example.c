/* libtinyllm in a page: which answer does a model find likelier, and how would it go on?
 *
 *   cc example.c $(pkg-config --cflags --libs tinyllm) -o example
 *   ./example HuggingFaceTB/SmolLM-135M
 */
#include <tinyllm.h>

#include <stdio.h>
#include <string.h>

static int fail(const tl_error *error) {
    fprintf(stderr, "example: %s\n", error->message);
    return 1;
}

/* The answers to one question: its context is computed once. */
static bool compare_answers(tl_session *session, tl_error *error) {
    static const tl_text_pair pairs[] = {
        {"Question: Which of these is a metal?\nAnswer:", " iron"},
        {"Question: Which of these is a metal?\nAnswer:", " milk"},
    };
    tl_text_score scores[2];
    if (!tl_session_score(session, pairs, 2, scores, error)) return false;
    for (int i = 0; i < 2; i++)
        printf("%s: %.3f\n", pairs[i].continuation + 1, scores[i].loglikelihood);
    return true;
}

static bool continue_text(tl_session *session, const char *text, tl_error *error) {
    int32_t *prompt = NULL, *ids = NULL;
    size_t n_prompt, n_ids;
    char *answer = NULL;
    tl_sampling greedy = {.most_tokens = 16};
    bool ok = tl_session_encode(session, text, strlen(text), true, &prompt, &n_prompt, error) &&
              tl_session_generate(session, prompt, n_prompt, &greedy, &ids, &n_ids, error) &&
              tl_session_decode(session, ids, n_ids, true, &answer, error);
    if (ok) printf("%s%s\n", text, answer);
    tl_free(prompt);
    tl_free(ids);
    tl_free(answer);
    return ok;
}

int main(int argc, char **argv) {
    tl_error error = {0};
    if (argc != 2) {
        fprintf(stderr, "usage: example MODEL\n");
        return 2;
    }
    tl_session *session = tl_session_open(argv[1], NULL, &error);
    if (!session) return fail(&error);
    bool ok = compare_answers(session, &error) && continue_text(session, "The sky is", &error);
    tl_session_free(session);
    return ok ? 0 : fail(&error);
}
