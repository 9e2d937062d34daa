/*
 * Fetches several URLs at the same time, with libcurl on a weir context, and tells how many bytes each has.
 *
 *     fetch URL...
 */
#include <stdio.h>
#include <stdlib.h>
#include <weir.h>
#include <weir/curl.h>

struct fetch {
    CURLM *multi;
    const char *url;
    size_t bytes;
    int failed;
};

static size_t on_data(char *data, size_t size, size_t count, void *user) {
    struct fetch *fetch = user;
    (void)data;
    fetch->bytes += size * count;
    return size * count;
}

static void on_done(CURL *easy, CURLcode result, void *user) {
    struct fetch *fetch = NULL;
    (void)user;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&fetch);
    printf("%s: %zu bytes, %s\n", fetch->url, fetch->bytes, curl_easy_strerror(result));
    fetch->failed = result != CURLE_OK;
    curl_multi_remove_handle(fetch->multi, easy);
    curl_easy_cleanup(easy);
}

static void must(int error, const char *what) {
    if (error == 0) return;
    fprintf(stderr, "fetch: %s: %s\n", what, weir_strerror(error));
    exit(1);
}

int main(int argc, char **argv) {
    weir_context *context = NULL;
    weir_curl *curl = NULL;
    int failed = 0;
    if (curl_global_init(CURL_GLOBAL_ALL) != 0) return 1;
    CURLM *multi = curl_multi_init();
    struct fetch *fetches = calloc((size_t)argc, sizeof *fetches);
    if (multi == NULL || fetches == NULL) return 1;
    must(weir_context_create(NULL, &context), "context");
    must(weir_curl_attach(multi, context, NULL, on_done, NULL, &curl), "attach");

    for (int i = 1; i < argc; i++) {
        CURL *easy = curl_easy_init();
        if (easy == NULL) return 1;
        fetches[i] = (struct fetch){.multi = multi, .url = argv[i], .failed = 1};
        curl_easy_setopt(easy, CURLOPT_URL, argv[i]);
        curl_easy_setopt(easy, CURLOPT_PRIVATE, &fetches[i]);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, &fetches[i]);
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 30000L);
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        curl_multi_add_handle(multi, easy);
    }
    must(weir_context_run(context, NULL), "run"); /* returns when no transfer is left */
    for (int i = 1; i < argc; i++) failed |= fetches[i].failed;

    weir_curl_detach(curl);
    curl_multi_cleanup(multi);
    weir_context_destroy(context);
    curl_global_cleanup();
    free(fetches);
    return failed;
}
