/*
 * Sends one query to PostgreSQL and prints its rows, with libpq on a weir context.
 *
 *     postgres CONNINFO QUERY
 *
 * for instance: postgres "host=/run/postgresql dbname=shop" "select * from orders"
 */
#include <stdio.h>
#include <weir.h>
#include <weir/pq.h>

struct program {
    const char *query;
    weir_pq *pq;
    int failed;
};

static void end(struct program *program, int status) {
    if (status != 0) {
        fprintf(stderr, "postgres: %s: %s\n", weir_strerror(status), PQerrorMessage(weir_pq_conn(program->pq)));
        program->failed = 1;
    }
    weir_pq_close(program->pq); /* nothing is pending then, and run returns */
}

static void on_result(int status, PGresult *result, void *user) {
    struct program *program = user;
    if (result == NULL) {
        end(program, status);
        return;
    }
    if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
        fputs(PQresultErrorMessage(result), stderr);
        program->failed = 1;
    }
    int columns = PQnfields(result);
    for (int i = 0; i < columns; i++) printf("%s%c", PQfname(result, i), i + 1 < columns ? '\t' : '\n');
    for (int row = 0; row < PQntuples(result); row++)
        for (int i = 0; i < columns; i++) printf("%s%c", PQgetvalue(result, row, i), i + 1 < columns ? '\t' : '\n');
    PQclear(result);
}

static void on_connect(int status, void *user) {
    struct program *program = user;
    if (status == 0 && !PQsendQuery(weir_pq_conn(program->pq), program->query)) status = WEIR_ENOTCONN;
    if (status == 0) status = weir_pq_collect(program->pq, on_result, program);
    if (status != 0) end(program, status);
}

int main(int argc, char **argv) {
    weir_context *context = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: postgres CONNINFO QUERY\n");
        return 2;
    }
    struct program program = {argv[2], NULL, 0};
    int error = weir_context_create(NULL, &context);
    PGconn *conn = PQconnectStart(argv[1]);
    if (error == 0) error = weir_pq_attach(conn, context, NULL, 10000000000, &program.pq, on_connect, &program);
    if (error == 0) error = weir_context_run(context, NULL);
    if (error != 0) fprintf(stderr, "postgres: %s\n", weir_strerror(error));
    weir_context_destroy(context);
    return error != 0 || program.failed;
}
