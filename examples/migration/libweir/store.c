/* The keys and their values, and the timers of those that expire. */
#include "server.h"

#include <stdlib.h>
#include <string.h>

static struct entry **store_slot(struct server *server, const char *key) {
    unsigned hash = 5381;
    for (const char *at = key; *at != 0; at++) hash = hash * 33 + (unsigned char)*at;
    struct entry **slot = &server->buckets[hash % BUCKETS];
    while (*slot != NULL && strcmp((*slot)->key, key) != 0) slot = &(*slot)->next;
    return slot;
}

struct entry *store_find(struct server *server, const char *key) {
    return *store_slot(server, key);
}

static void entry_free(struct entry *entry) {
    weir_timer_close(entry->expiry); /* of NULL, a harmless WEIR_EBADF */
    entry->expiry = NULL;
    if (entry->waiting) return; /* on_expired comes back here */
    free(entry->value);
    free(entry);
}

/* Takes an entry out of the table and ends it. */
static void entry_remove(struct entry **slot) {
    struct entry *entry = *slot;
    *slot = entry->next;
    entry->server->keys--;
    entry_free(entry);
}

int store_set(struct server *server, const char *key, const char *value) {
    struct entry **slot = store_slot(server, key);
    char *copy = strdup(value);
    if (copy == NULL) return -1;
    if (*slot != NULL) {
        free((*slot)->value);
        (*slot)->value = copy;
        return 0;
    }
    struct entry *entry = calloc(1, sizeof *entry + strlen(key) + 1);
    if (entry == NULL) {
        free(copy);
        return -1;
    }
    entry->server = server;
    entry->value = copy;
    strcpy(entry->key, key);
    *slot = entry;
    server->keys++;
    return 0;
}

int store_delete(struct server *server, const char *key) {
    struct entry **slot = store_slot(server, key);
    if (*slot == NULL) return 0;
    entry_remove(slot);
    return 1;
}

static void on_expired(int status, void *user) {
    struct entry *entry = user;
    int64_t left = 0;
    (void)status;
    entry->waiting = 0;
    if (entry->expiry == NULL) {
        entry_free(entry);
        return;
    }
    weir_timer_remaining(entry->expiry, &left); /* set anew when this call was on its way? */
    if (left > 0 && weir_timer_wait(entry->expiry, on_expired, entry) == 0) {
        entry->waiting = 1;
        return;
    }
    entry->server->expired++;
    store_delete(entry->server, entry->key);
}

int store_expire(struct entry *entry, long milliseconds) {
    int error = 0;
    if (entry->expiry == NULL) error = weir_timer_create(entry->server->context, &entry->expiry);
    if (error == 0) error = weir_timer_expires_after(entry->expiry, milliseconds * 1000000);
    if (error == 0 && !entry->waiting) {
        error = weir_timer_wait(entry->expiry, on_expired, entry);
        entry->waiting = error == 0;
    }
    return error;
}

void store_clear(struct server *server) {
    for (int bucket = 0; bucket < BUCKETS; bucket++)
        while (server->buckets[bucket] != NULL) entry_remove(&server->buckets[bucket]);
}
