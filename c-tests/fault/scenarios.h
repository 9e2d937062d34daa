/* What the files of scenarios have in common. */
#ifndef SCENARIOS_H
#define SCENARIOS_H

#include "model.h"

/* Transfers are cut to one byte: with less to move it is the same. */
extern bool model_short;

/* streams.c */
void tcp(void);
void local(void);
void large(void);
void composed(void);
void accept_each(void);
void connect_list(void);
void send_file(void);
void adopted(void);
void path(void);
void pending(void);

/* datagrams.c */
void udp(void);
void batches(void);
void local_datagrams(void);
void multicast(void);

/* loop.c */
void posts(void);
void timers(void);
void hooks(void);
void strands(void);
void records(void);
void labels(void);
void embedded(void);
void threads(void);
void threads_with_streams(void);
void forked(void);
void destroyed(void);
void measured(void);
void many_of_each(void);

/* outside.c */
void signals(void);
void resolve_numbers(void);
void resolve_names(void);
void watches(void);
void processes(void);
void processes_by_number(void);
void jobs(void);
void addresses(void);

#endif
