#include "hub/remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    DOCUMENT_LIMIT = 64 << 20,
    DOCUMENT_SECONDS = 60, /* nothing is shown meanwhile */
    TOKEN_LIMIT = 4096,
    MOST_PAGES = 1000,
    MOST_FILES = 200000,
};

static const int64_t LARGEST_FILE = (int64_t)1 << 50;

/* ---- settings
 * ------------------------------------------------------------------------------------------- */

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static bool is_on(const char *name) {
    static const char *const words[] = {"1", "ON", "YES", "TRUE"};
    const char *value = setting(name);
    for (size_t i = 0; value && i < sizeof words / sizeof *words; i++)
        if (strcasecmp(value, words[i]) == 0) return true;
    return false;
}

/* Takes a token that stands alone in `text`; it goes into a header, so it must be one word. */
static bool take_token(tl_hub_settings *settings, const char *text, const char *source,
                       tl_error *error) {
    text += strspn(text, " \t\r\n");
    size_t length = strcspn(text, " \t\r\n");
    snprintf(settings->token_source, sizeof settings->token_source, "%s", source);
    bool good =
        length < sizeof settings->token && text[length + strspn(text + length, " \t\r\n")] == 0;
    for (size_t i = 0; good && i < length; i++)
        good = text[i] > 0x20 && text[i] < 0x7f;
    if (!good)
        return tl_fail(error, TL_ERROR_USAGE, "the token in %s is not one word of plain ASCII",
                       source);
    memcpy(settings->token, text, length);
    settings->token[length] = 0;
    return true;
}

static bool read_token(tl_hub_settings *settings, tl_error *error) {
    static const char *const names[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"};
    if (is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (setting(names[i])) return take_token(settings, setting(names[i]), names[i], error);
    char home[PATH_MAX], path[PATH_MAX];
    if (setting("HF_TOKEN_PATH")) {
        if (!tl_put_path(path, sizeof path, error, "%s", setting("HF_TOKEN_PATH"))) return false;
    } else if (!tl_hf_home(home, sizeof home, NULL) ||
               !tl_put_path(path, sizeof path, NULL, "%s/token", home)) {
        return true;
    }
    if (!tl_file_exists(path)) return true;
    char *text = tl_file_read(path, TOKEN_LIMIT, NULL, error);
    bool good = text && take_token(settings, text, path, error);
    free(text);
    return good;
}

bool tl_hub_settings_read(tl_hub_settings *settings, tl_error *error) {
    *settings = (tl_hub_settings){0};
    const char *endpoint =
        setting("HF_ENDPOINT") ? setting("HF_ENDPOINT") : "https://huggingface.co";
    size_t length = strlen(endpoint);
    while (length > 0 && endpoint[length - 1] == '/')
        length--;
    if (length >= sizeof settings->endpoint ||
        (strncmp(endpoint, "https://", 8) != 0 && strncmp(endpoint, "http://", 7) != 0))
        return tl_fail(error, TL_ERROR_USAGE, "HF_ENDPOINT=%s: expected an http or https address",
                       endpoint);
    memcpy(settings->endpoint, endpoint, length);
    settings->offline = is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE");
    const char *timeout = setting("HF_HUB_DOWNLOAD_TIMEOUT");
    if (timeout) settings->timeout = strtod(timeout, NULL);
    if (!(settings->timeout > 0 && settings->timeout < 86400)) settings->timeout = 10;
    return tl_hf_cache(settings->cache, sizeof settings->cache, error) &&
           read_token(settings, error);
}

/* ---- addresses
 * ------------------------------------------------------------------------------------------- */

static void append_quoted(tl_buffer *url, const char *text, const char *kept) {
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (; *text; text++) {
        if (strchr(plain, *text) || strchr(kept, *text))
            tl_buffer_append_byte(url, *text);
        else
            tl_buffer_append_format(url, "%%%02X", (unsigned char)*text);
    }
}

char *tl_remote_url(const tl_hub_settings *settings, const tl_repo *repo, const char *commit,
                    const char *path) {
    tl_buffer url = {0};
    tl_buffer_append_format(&url, "%s/%s%s/resolve/%s/", settings->endpoint,
                            repo->kind == TL_REPO_MODEL ? "" : "datasets/", repo->id, commit);
    append_quoted(&url, path, "/");
    return tl_buffer_take(&url);
}

/* ENDPOINT/api/models/ID/WORD/REVISION, the revision as one part. */
static char *api_url(const tl_hub_settings *settings, const tl_repo *repo, const char *word,
                     const char *revision, const char *query) {
    tl_buffer url = {0};
    tl_buffer_append_format(&url, "%s/api/%s/%s/%s/", settings->endpoint,
                            tl_repo_kind_plural(repo->kind), repo->id, word);
    append_quoted(&url, revision, "");
    tl_buffer_append_string(&url, query);
    return tl_buffer_take(&url);
}

/* ---- what refusals mean
 * ------------------------------------------------------------------------------------------- */

static bool explain_missing(const tl_hub_settings *settings, const tl_repo *repo,
                            const tl_http_reply *reply, tl_error *error) {
    if (strstr(reply->error_message, "Invalid credentials") ||
        strstr(reply->error_message, "Invalid username or password"))
        return tl_fail(
            error, TL_ERROR_NETWORK,
            "%s: the hub refused the token from %s: make a new one at %s/settings/tokens "
            "or unset it",
            repo->id, *settings->token_source ? settings->token_source : "nowhere",
            settings->endpoint);
    if (reply->status == 401 && !*settings->token)
        return tl_fail(
            error, TL_ERROR_NETWORK,
            "%s: private, or does not exist (the hub says no more without a token): check "
            "the name; if it is private, set HF_TOKEN to a token from "
            "%s/settings/tokens",
            repo->id, settings->endpoint);
    if (*settings->token)
        return tl_fail(error, TL_ERROR_NETWORK,
                       "%s: does not exist, or is private and the token from %s may not read it: "
                       "check the name and the token's rights",
                       repo->id, settings->token_source);
    return tl_fail(error, TL_ERROR_NETWORK, "%s: no such repository at %s: check the name",
                   repo->id, settings->endpoint);
}

bool tl_remote_explain(const tl_hub_settings *settings, const tl_repo *repo,
                       const tl_http_reply *reply, tl_error *error) {
    const char *code = reply->error_code, *said = reply->error_message;
    const char *folder = repo->kind == TL_REPO_MODEL ? "" : "datasets/";
    if (strcmp(code, "GatedRepo") == 0 && !*settings->token)
        return tl_fail(
            error, TL_ERROR_NETWORK,
            "%s: gated: accept its conditions at %s/%s%s, then set HF_TOKEN to a token from "
            "%s/settings/tokens",
            repo->id, settings->endpoint, folder, repo->id, settings->endpoint);
    if (strcmp(code, "GatedRepo") == 0)
        return tl_fail(
            error, TL_ERROR_NETWORK,
            "%s: gated, and the account of the token from %s has no access: ask for it at "
            "%s/%s%s",
            repo->id, settings->token_source, settings->endpoint, folder, repo->id);
    if (strcmp(code, "RevisionNotFound") == 0)
        return tl_fail(error, TL_ERROR_NETWORK, "%s: has no revision '%s'", repo->id,
                       repo->revision);
    if (strcmp(code, "EntryNotFound") == 0)
        return tl_fail(error, TL_ERROR_NETWORK, "%s: the hub has no %s", repo->id, reply->url);
    if (strcmp(said, "Access to this resource is disabled.") == 0)
        return tl_fail(error, TL_ERROR_NETWORK, "%s: the hub has disabled this repository",
                       repo->id);
    if (strcmp(code, "RepoNotFound") == 0 || reply->status == 401 || reply->status == 404)
        return explain_missing(settings, repo, reply, error);
    if (reply->status == 403)
        return tl_fail(error, TL_ERROR_NETWORK,
                       "%s: access refused (403%s%s): the token may lack the right to read it",
                       repo->id, *said ? ", " : "", said);
    char wait[64] = "wait";
    if (reply->retry_after > 0)
        snprintf(wait, sizeof wait, "it asks to wait %.0f s", reply->retry_after);
    if (reply->status == 429)
        return tl_fail(
            error, TL_ERROR_NETWORK,
            "%s: too many requests for the hub (429): %s, or set HF_TOKEN for a higher limit",
            repo->id, wait);
    if (reply->status >= 500)
        return tl_fail(error, TL_ERROR_NETWORK,
                       "%s: the server is in trouble (%ld from %s): try again later", repo->id,
                       reply->status, reply->url);
    return tl_fail(error, TL_ERROR_NETWORK, "%s: unexpected answer %ld from %s%s%s", repo->id,
                   reply->status, reply->url, *said ? ": " : "", said);
}

/* ---- documents
 * ------------------------------------------------------------------------------------------- */

typedef struct document {
    tl_buffer text;
    bool too_long;
} document;

static bool gather(void *context, const tl_http_reply *reply, const char *bytes, size_t length) {
    document *to = context;
    (void)reply;
    to->too_long = to->text.length + length > DOCUMENT_LIMIT;
    if (to->too_long) return false;
    tl_buffer_append(&to->text, bytes, length);
    return !to->text.failed;
}

static bool take_nothing(void *context, const tl_http_reply *reply, const char *bytes,
                         size_t length) {
    (void)context, (void)reply, (void)bytes, (void)length;
    return false;
}

/* GETs until an answer comes or the tries are used up. True with any final status. */
static bool get_document(tl_http *http, const char *url, bool head, tl_retry retry, document *to,
                         tl_http_reply *reply, tl_error *error) {
    tl_http_request request = {
        .url = url, .body = gather, .context = to, .head = head, .seconds = DOCUMENT_SECONDS};
    for (;;) {
        tl_buffer_clear(&to->text);
        bool good = tl_http_get(http, &request, reply, error);
        if (good && !reply->transient) return true;
        if (to->too_long)
            return tl_fail(error, TL_ERROR_LIMIT, "%s: more than %d bytes of JSON", url,
                           DOCUMENT_LIMIT);
        if (to->text.failed) return tl_fail_memory(error, DOCUMENT_LIMIT, "a document");
        if (!reply->transient || !tl_retry_wait(&retry, reply, http)) return good;
    }
}

/* GETs JSON; a refusal is explained in `error`, its reply left for the caller to look at. */
static cJSON *get_json(tl_http *http, const tl_hub_settings *settings, const tl_repo *repo,
                       const char *url, tl_retry retry, tl_http_reply *reply, tl_error *error) {
    document answer = {0};
    cJSON *json = NULL;
    if (get_document(http, url, false, retry, &answer, reply, error)) {
        if (reply->status < 200 || reply->status > 299) {
            tl_remote_explain(settings, repo, reply, error);
        } else {
            json =
                tl_json_parse(tl_buffer_string(&answer.text), answer.text.length, reply->url, NULL);
            if (!json)
                tl_fail(error, TL_ERROR_FORMAT,
                        "%s: expected JSON, got %s (the page of a proxy or a login?)", reply->url,
                        *reply->content_type ? reply->content_type : "something else");
        }
    }
    tl_buffer_free(&answer.text);
    return json;
}

/* ---- the tree
 * ------------------------------------------------------------------------------------------- */

static bool is_hex(const char *text, size_t length) {
    return strlen(text) == length && strspn(text, "0123456789abcdef") == length;
}

static bool add_file(tl_remote_tree *tree, const cJSON *entry, const char *where, tl_error *error) {
    const char *path, *hash;
    int64_t size;
    const cJSON *lfs = tl_json_get(entry, "lfs");
    const cJSON *source = lfs ? lfs : entry;
    if (!tl_json_string_or(entry, "path", NULL, &path, where, error) ||
        !tl_json_string_or(source, "oid", NULL, &hash, where, error) ||
        !tl_json_int(source, "size", 0, LARGEST_FILE, &size, where, error))
        return false;
    if (!path || !tl_is_safe_path(path))
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: refused: a file named '%s', which could lead out of the cache", where,
                       path ? path : "");
    if (hash && strncmp(hash, "sha256:", 7) == 0) hash += 7;
    if (!hash || !is_hex(hash, lfs ? 64 : 40))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: %s: field 'oid' is '%s': expected a %s", where,
                       path, hash ? hash : "", lfs ? "SHA-256" : "SHA-1");
    if (tree->count >= MOST_FILES)
        return tl_fail(error, TL_ERROR_LIMIT, "%s: more than %d files", where, MOST_FILES);
    tl_remote_file *files = realloc(tree->files, ((size_t)tree->count + 1) * sizeof *files);
    if (files) tree->files = files;
    char *copy = files ? strdup(path) : NULL;
    if (!copy) return tl_fail_memory(error, strlen(path), "a list of files");
    tl_remote_file *file = &files[tree->count++];
    *file = (tl_remote_file){.path = copy, .size = (uint64_t)size, .lfs = lfs != NULL};
    strcpy(file->hash, hash);
    return true;
}

static bool add_page(tl_remote_tree *tree, const cJSON *page, const char *where, tl_error *error) {
    if (!cJSON_IsArray(page))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: expected a list of files", where);
    const cJSON *entry;
    cJSON_ArrayForEach(entry, page) {
        const char *type;
        if (!tl_json_string_or(entry, "type", "", &type, where, error)) return false;
        if (strcmp(type, "file") == 0 && !add_file(tree, entry, where, error)) return false;
    }
    return true;
}

/* A page that is not the last has something on it, and not what the first has: or the links from
 * page to page lead in a circle. */
static bool check_progress(const tl_remote_tree *tree, int before, const cJSON *page,
                           const char *where, tl_error *error) {
    bool repeated = before > 0 && tree->count > before &&
                    strcmp(tree->files[before].path, tree->files[0].path) == 0;
    if (cJSON_GetArraySize(page) > 0 && !repeated) return true;
    return tl_fail(error, TL_ERROR_FORMAT, "%s: the pages of its list of files lead %s", where,
                   repeated ? "in a circle" : "nowhere");
}

static bool list_pages(tl_http *http, const tl_hub_settings *settings, const tl_repo *repo,
                       char *url, tl_retry retry, tl_remote_tree *tree, tl_error *error) {
    tl_http_reply reply;
    bool good = true;
    for (int page = 0; good && url; page++) {
        if (page == MOST_PAGES) {
            good = tl_fail(error, TL_ERROR_LIMIT, "%s: more than %d pages of files", repo->id,
                           MOST_PAGES);
            break;
        }
        int before = tree->count;
        cJSON *json = get_json(http, settings, repo, url, retry, &reply, error);
        good = json && add_page(tree, json, reply.url, error) &&
               (!*reply.next || check_progress(tree, before, json, reply.url, error));
        cJSON_Delete(json);
        char *next = good && *reply.next ? tl_http_follow(url, reply.next) : NULL;
        if (good && *reply.next && !next)
            good = tl_fail(error, TL_ERROR_FORMAT,
                           "%s: the next page of files is at another server, %s: refused", repo->id,
                           reply.next);
        free(url);
        url = next;
    }
    free(url);
    return good;
}

/* The headers of a file: by GET where HEAD is refused. */
static bool get_headers(tl_http *http, const char *url, tl_retry retry, tl_http_reply *reply,
                        tl_error *error) {
    document nothing = {0};
    bool good = get_document(http, url, true, retry, &nothing, reply, error);
    if (good && (reply->status == 405 || reply->status == 501)) {
        tl_http_request request = {.url = url, .body = take_nothing, .seconds = DOCUMENT_SECONDS};
        good = tl_http_get(http, &request, reply, error) || (reply->status == 200);
    }
    tl_buffer_free(&nothing.text);
    return good;
}

/* The commit that resolving a file names in its header, for servers without the revision's page. */
static bool commit_from_file(tl_http *http, const tl_hub_settings *settings, const tl_repo *repo,
                             const char *path, tl_retry retry, char commit[TL_COMMIT_SIZE],
                             tl_error *error) {
    tl_http_reply reply = {0};
    tl_buffer revision = {0};
    append_quoted(&revision, repo->revision, "");
    char *url = tl_remote_url(settings, repo, tl_buffer_string(&revision), path);
    tl_buffer_free(&revision);
    bool good = url && get_headers(http, url, retry, &reply, error);
    free(url);
    if (!good) return false;
    if (reply.status >= 400) return tl_remote_explain(settings, repo, &reply, error);
    if (!tl_is_commit(reply.commit))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: %s does not say the commit (X-Repo-Commit)",
                       repo->id, reply.url);
    strcpy(commit, reply.commit);
    return true;
}

/* The commit of a branch or tag; "" where the server has no page about it. */
static bool find_commit(tl_http *http, const tl_hub_settings *settings, const tl_repo *repo,
                        tl_retry retry, char commit[TL_COMMIT_SIZE], tl_error *error) {
    tl_http_reply reply = {0};
    commit[0] = 0;
    char *url = api_url(settings, repo, "revision", repo->revision, "");
    if (!url) return tl_fail_memory(error, sizeof reply, "an address");
    cJSON *json = get_json(http, settings, repo, url, retry, &reply, error);
    free(url);
    if (!json) return reply.status == 404 && !*reply.error_code;
    const char *sha = cJSON_GetStringValue(tl_json_get(json, "sha"));
    bool good = sha && tl_is_commit(sha);
    if (good)
        strcpy(commit, sha);
    else
        tl_fail(error, TL_ERROR_FORMAT, "%s: field 'sha': expected a commit", reply.url);
    cJSON_Delete(json);
    return good;
}

bool tl_remote_list(tl_http *http, const tl_hub_settings *settings, const tl_repo *repo,
                    tl_retry retry, tl_remote_tree *tree, tl_error *error) {
    *tree = (tl_remote_tree){0};
    bool good = true;
    if (tl_is_commit(repo->revision))
        strcpy(tree->commit, repo->revision);
    else
        good = find_commit(http, settings, repo, retry, tree->commit, error);
    if (!good) return false;
    char *url = api_url(settings, repo, "tree", *tree->commit ? tree->commit : repo->revision,
                        "?recursive=true&expand=false");
    if (!url) return tl_fail_memory(error, strlen(repo->id), "an address");
    good = list_pages(http, settings, repo, url, retry, tree, error);
    if (good && tree->count == 0)
        good = tl_fail(error, TL_ERROR_FORMAT, "%s: an empty repository", repo->id);
    if (good && !*tree->commit)
        good =
            commit_from_file(http, settings, repo, tree->files[0].path, retry, tree->commit, error);
    if (!good) tl_remote_tree_free(tree);
    return good;
}

void tl_remote_tree_free(tl_remote_tree *tree) {
    for (int i = 0; i < tree->count; i++)
        free(tree->files[i].path);
    free(tree->files);
    *tree = (tl_remote_tree){0};
}
