"""What each section of weir.h is about."""

# Of sections that are not named after a handle.
TITLES = {
    "version": "the version of the library",
    "handle": "what all handles have in common",
    "error": "codes and their names",
    "record": "completion records, collected in batches",
    "compose": "time limits, files, delimiters, queued writes and lists of addresses for streams",
    "message": "sending and receiving datagrams",
    "local": "AF_UNIX sockets: pairs, credentials, file descriptors",
    "option": "named socket options",
    "address": "addresses as text",
    "pool": "reading into buffers of the library's",
    "enter": "batches of calls",
    "report": "statistics and reports",
    "memory": "where the library gets its memory",
}


def handle_of(header, section):
    """The handle that a section is named after, if it is."""
    for item in header.of_kind("opaque"):
        if item.name == f"weir_{section}":
            return item
    return None


def title(header, section):
    unknown = set(TITLES) - set(header.sections)
    if unknown:
        raise ValueError(f"titles for sections that the header has not: {', '.join(sorted(unknown))}")
    handle = handle_of(header, section)
    return handle.doc.summary if handle else TITLES.get(section, f"the section {section} of weir.h")
