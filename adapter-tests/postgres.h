/* A PostgreSQL server of the test's own, in a temporary folder; it ends with the test. */
#ifndef POSTGRES_H
#define POSTGRES_H

#include "child.h"

#include <fcntl.h>
#include <glob.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>

static pid_t postgres;
static int postgres_port;
static char postgres_folder[64], postgres_data[96], postgres_bin[256];

/* Debian keeps initdb and postgres out of PATH. */
static inline void find_postgres(void)
{
    glob_t found;
    if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) == 0) {
        char *last = found.gl_pathv[found.gl_pathc - 1];
        snprintf(postgres_bin, sizeof postgres_bin, "%.*s", (int)(strlen(last) - strlen("initdb")), last);
        globfree(&found);
    }
}

/* A program of PostgreSQL's, which never runs as root. */
static inline void as_server(char *arguments[], int count, char *program, size_t size, const char *name)
{
    char *own[32];
    int used = 0;
    CHECK(count <= 32);
    memcpy(own, arguments, (size_t)count * sizeof *own);
    snprintf(program, size, "%s%s", postgres_bin, name);
    arguments[used++] = "setpriv";
    arguments[used++] = "--pdeathsig=QUIT";
    if (getuid() == 0) {
        arguments[used++] = "--reuid=postgres";
        arguments[used++] = "--regid=postgres";
        arguments[used++] = "--init-groups";
    }
    arguments[used++] = program;
    memcpy(arguments + used, own, (size_t)count * sizeof *own);
    arguments[used + count] = NULL;
}

static inline void remove_postgres(void)
{
    if (postgres > 0) {
        kill(postgres, SIGQUIT); /* at once, and its shared memory goes too */
        reap_child(postgres);
    }
    char *arguments[] = {"rm", "-rf", postgres_folder, NULL};
    char text[256];
    run_child(arguments, 0, text, sizeof text);
}

static inline void conninfo(char *text, size_t size, bool tcp, const char *more)
{
    char unix_host[80];
    snprintf(unix_host, sizeof unix_host, "host=%s", postgres_folder);
    snprintf(text, size, "%s port=%d user=weir dbname=postgres %s", tcp ? "hostaddr=127.0.0.1" : unix_host, postgres_port, more);
}

static inline void launch_postgres(bool tls)
{
    char program[300], port[16];
    snprintf(port, sizeof port, "%d", postgres_port);
    char *arguments[40] = {"-D", postgres_data, "-p", port, "-k", postgres_folder, "-c", "listen_addresses=127.0.0.1", "-c",
                           "fsync=off", "-c", "autovacuum=off", "-c", "shared_buffers=16MB", "-c", "max_connections=40", "-c",
                           tls ? "ssl=on" : "ssl=off"};
    as_server(arguments, 18, program, sizeof program, "postgres");
    postgres = start_child(arguments, -1);
    char info[256];
    conninfo(info, sizeof info, true, "connect_timeout=5 sslmode=disable");
    for (int tries = 0; tries < 6000; tries++) {
        int status = 0;
        if (waitpid(postgres, &status, WNOHANG) != 0) {
            postgres = 0;
            check_fail(__FILE__, __LINE__, "postgres does not start: wait status %x", status);
        }
        if (PQping(info) == PQPING_OK)
            return;
        sleep_ms(10);
    }
    check_fail(__FILE__, __LINE__, "postgres does not answer");
}

static inline void copy_folder(const char *from, const char *to)
{
    char text[256];
    char *arguments[] = {"cp", "-a", (char *)from, (char *)to, NULL};
    run_child(arguments, 0, text, sizeof text);
}

/* Makes the data folder. initdb takes seconds: where POSTGRES_TEMPLATE names a place, it is done once, and copied. */
static inline void make_data(void)
{
    char program[300], text[4096];
    char *arguments[40] = {"-D", postgres_data, "--no-sync", "-A", "trust", "--locale=C", "-E", "UTF8", "-U", "weir",
                           "--wal-segsize=1"};
    as_server(arguments, 11, program, sizeof program, "initdb");
#ifdef POSTGRES_TEMPLATE
    char template[512], lock[520], fresh[520];
    int version = 0;
    sscanf(postgres_bin, "/usr/lib/postgresql/%d/", &version);
    snprintf(template, sizeof template, "%s-%d-%u", POSTGRES_TEMPLATE, version, (unsigned)getuid());
    snprintf(lock, sizeof lock, "%s.lock", template);
    snprintf(fresh, sizeof fresh, "%s.new", template);
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0);
    if (access(template, F_OK) == 0) {
        copy_folder(template, postgres_data);
        CHECK_EQ(chmod(postgres_data, 0700), 0); /* it insists */
    } else {
        char *away[] = {"rm", "-rf", fresh, NULL};
        run_child(arguments, 0, text, sizeof text);
        run_child(away, 0, text, sizeof text);
        copy_folder(postgres_data, fresh);
        CHECK_EQ(rename(fresh, template), 0);
    }
    close(fd);
#else
    run_child(arguments, 0, text, sizeof text);
#endif
}

static inline void start_postgres(bool tls)
{
    char text[4096];
    struct passwd *user = getuid() == 0 ? getpwnam("postgres") : NULL;
    signal(SIGPIPE, SIG_DFL);
    find_postgres();
    snprintf(postgres_folder, sizeof postgres_folder, "/tmp/weir-pg-XXXXXX");
    CHECK(mkdtemp(postgres_folder) != NULL);
    atexit(remove_postgres);
    CHECK(getuid() != 0 || (user != NULL && chown(postgres_folder, user->pw_uid, user->pw_gid) == 0));
    snprintf(postgres_data, sizeof postgres_data, "%s/data", postgres_folder);
    make_data();
    if (tls) {
        char key[128], certificate[128];
        snprintf(key, sizeof key, "%s/server.key", postgres_data);
        snprintf(certificate, sizeof certificate, "%s/server.crt", postgres_data);
        char *make[] = {"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
                        "-out", certificate, "-days", "2", "-subj", "/CN=localhost", NULL};
        run_child(make, 0, text, sizeof text);
        CHECK(user == NULL || (chown(key, user->pw_uid, user->pw_gid) == 0 && chown(certificate, user->pw_uid, user->pw_gid) == 0));
    }
    postgres_port = unused_port();
    launch_postgres(tls);
}

#endif
