# The tests that ctest runs: every case of every c-tests/test_*.c and cpp-tests/test_*.cpp, and the scripted checks.

# A sanitizer slows the programs down; their own time limit of a case follows.
set(_weir_limit ${WEIR_TEST_TIMEOUT})
if(WEIR_SANITIZE)
    math(EXPR _weir_limit "${WEIR_TEST_TIMEOUT} * 2")
endif()
math(EXPR _weir_case_limit "${_weir_limit} - 10")
set(_weir_environment "CHECK_SECONDS=${_weir_case_limit}")
if(WEIR_SANITIZE STREQUAL "address")
    list(APPEND _weir_environment "ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1")
elseif(WEIR_SANITIZE STREQUAL "thread")
    list(APPEND _weir_environment "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1")
endif()

# The part that is run under valgrind as well: `ctest -C Valgrind -L valgrind`. The cases left out
# are about great numbers, limits of the process or the allocator, which valgrind replaces.
set(_weir_valgrind_programs "handles;timer;stream;acceptor;address;destroy;post")
string(CONCAT _weir_valgrind_skip "stress|million|thousand|[0-9]000|flood|starve|stack|emfile|nofile"
    "|alloc|recurse|descriptors|other_threads_use")
find_program(WEIR_VALGRIND valgrind)
mark_as_advanced(WEIR_VALGRIND)

# One ctest for each case of a test program, found by running it with --list after it was built.
function(weir_add_cases program prefix folder label)
    # A change of the discovery lists the cases anew.
    set_property(TARGET ${program} APPEND PROPERTY
        LINK_DEPENDS "${PROJECT_SOURCE_DIR}/cmake/discover.cmake")
    set(cases "${PROJECT_BINARY_DIR}/${folder}/${program}.cmake")
    set(loader "${PROJECT_BINARY_DIR}/${folder}/${program}.load.cmake")
    set(valgrind "")
    if(WEIR_VALGRIND AND NOT WEIR_SANITIZE AND prefix IN_LIST _weir_valgrind_programs)
        set(valgrind "${WEIR_VALGRIND}")
    endif()
    add_custom_command(TARGET ${program} POST_BUILD
        COMMAND "${CMAKE_COMMAND}"
            "-DPROGRAM=$<TARGET_FILE:${program}>" "-DPREFIX=${prefix}" "-DOUT=${cases}" "-DLABEL=${label}"
            "-DTIMEOUT=${_weir_limit}" "-DENVIRONMENT=${_weir_environment}"
            "-DVALGRIND=${valgrind}" "-DVALGRIND_SKIP=${_weir_valgrind_skip}"
            -P "${PROJECT_SOURCE_DIR}/cmake/discover.cmake"
        BYPRODUCTS "${cases}"
        VERBATIM)
    file(WRITE "${loader}"
        "if(EXISTS \"${cases}\")\n  include(\"${cases}\")\nelse()\n"
        "  add_test(${prefix}.not_built ${program}-not-built)\nendif()\n")
    set_property(DIRECTORY "${PROJECT_SOURCE_DIR}" APPEND PROPERTY TEST_INCLUDE_FILES "${loader}")
endfunction()

function(weir_add_test_program source)
    get_filename_component(program "${source}" NAME_WE)
    string(REGEX REPLACE "^test_" "" prefix "${program}")
    weir_add_program(${program} "${source}" c-tests)
    target_compile_definitions(${program} PRIVATE
        WEIR_SYMBOLS_FILE="${PROJECT_SOURCE_DIR}/include/weir.symbols"
        WEIR_HEADER_FILE="${PROJECT_SOURCE_DIR}/include/weir.h")
    target_link_libraries(${program} PRIVATE ${CMAKE_DL_LIBS})
    weir_add_cases(${program} ${prefix} c-tests c)
endfunction()

file(GLOB _weir_tests CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/c-tests/test_*.c")
foreach(_source IN LISTS _weir_tests)
    weir_add_test_program("${_source}")
endforeach()

# Of the C++ tests those of coroutines need C++20; the others are built in C++17.
if(CMAKE_CXX_COMPILER)
    file(GLOB _weir_tests CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/cpp-tests/test_*.cpp")
    foreach(_source IN LISTS _weir_tests)
        get_filename_component(_name "${_source}" NAME_WE)
        string(REGEX REPLACE "^test_" "" _name "${_name}")
        set(_standard 20)
        if(_name STREQUAL "callbacks")
            set(_standard 17)
        endif()
        weir_add_cpp_program(cpp_test_${_name} "${_source}" cpp-tests ${_standard})
        weir_add_cases(cpp_test_${_name} cpp_${_name} cpp-tests cpp)
    endforeach()
endif()

# A script and its arguments as a test.
function(weir_add_script name label timeout)
    add_test(NAME ${name} COMMAND ${ARGN})
    set_tests_properties(${name} PROPERTIES LABELS "${label}" TIMEOUT ${timeout})
endfunction()

if(TARGET resolve)
    weir_add_script(example.resolve example 60 "${PROJECT_SOURCE_DIR}/c-tests/examples/resolve"
        "$<TARGET_FILE:resolve>")
endif()

include(WeirFaults)

# The rest is about the library as it ships, so a sanitizer build leaves it out.
if(WEIR_TOP_LEVEL AND NOT WEIR_SANITIZE)
    set(_weir_here "${PROJECT_SOURCE_DIR}/c-tests")
    weir_add_script(exports package 60 "${PROJECT_SOURCE_DIR}/scripts/check-exports"
        "${weir_LIBRARY_DIR}/libweir.so.${weir_VERSION}" "libweir.so.${weir_SOVERSION}"
        "${PROJECT_SOURCE_DIR}/include/weir.symbols")
    weir_add_script(header.compiles header 600 "${_weir_here}/header/compile"
        "${PROJECT_SOURCE_DIR}/include" "${PROJECT_BINARY_DIR}/header-test")
    if(CMAKE_CXX_COMPILER)
        # One of them; `make clang` runs all.
        weir_add_script(cpp.clang cpp 600 "${PROJECT_SOURCE_DIR}/cpp-tests/clang" "${PROJECT_SOURCE_DIR}"
            "${weir_LIBRARY_DIR}" "${PROJECT_BINARY_DIR}/clang" test_tasks)
    endif()
    foreach(_kind build_tree moved_install add_subdirectory pkg_config pkg_config_static dlopen)
        weir_add_script(consumer.${_kind} consumer 600 "${_weir_here}/consumers/run" ${_kind}
            "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}" "${CMAKE_COMMAND}")
    endforeach()
    # Both install the same build tree, whose install manifest is one file.
    set_tests_properties(consumer.moved_install consumer.pkg_config consumer.pkg_config_static
        PROPERTIES RESOURCE_LOCK weir_install)

    find_program(WEIR_PYTHON python3)
    mark_as_advanced(WEIR_PYTHON)
    if(WEIR_PYTHON)
        weir_add_script(python.ctypes python 120 "${WEIR_PYTHON}" "${_weir_here}/python/smoke.py" -v)
        set_tests_properties(python.ctypes PROPERTIES ENVIRONMENT
            "WEIR_LIBRARY=${weir_LIBRARY_DIR}/libweir.so.${weir_SOVERSION};PYTHONDONTWRITEBYTECODE=1")
        # The programs of the migration guides, before and after; a library that is missing is left out with a line.
        weir_add_script(migration migration 300 "${WEIR_PYTHON}" "${PROJECT_SOURCE_DIR}/docs/migration/check"
            "${weir_LIBRARY_DIR}")
        set_tests_properties(migration PROPERTIES ENVIRONMENT "PYTHONDONTWRITEBYTECODE=1")
        if(WEIR_BUILD_EXAMPLES)
            foreach(_name IN ITEMS chat_server file_server supervisor udp_echo)
                weir_add_script(example.${_name} example 180 "${WEIR_PYTHON}"
                    "${_weir_here}/examples/${_name}.py" "$<TARGET_FILE:${_name}>")
                set_tests_properties(example.${_name} PROPERTIES ENVIRONMENT "PYTHONDONTWRITEBYTECODE=1")
            endforeach()
            foreach(_name IN ITEMS echo_callbacks echo_coroutines)
                if(TARGET ${_name})
                    weir_add_script(example.${_name} example 180 "${WEIR_PYTHON}"
                        "${_weir_here}/examples/echo_cpp.py" "$<TARGET_FILE:${_name}>")
                    set_tests_properties(example.${_name} PROPERTIES ENVIRONMENT "PYTHONDONTWRITEBYTECODE=1")
                endif()
            endforeach()
        endif()
    else()
        message(STATUS "python3 not found: the ctypes test and those of the examples are left out")
    endif()
    include(WeirPackageTests)
endif()

# Hostile peers against the servers of examples/, and the short form of `make soak`.
if(WEIR_TOP_LEVEL AND WEIR_BUILD_EXAMPLES)
    find_program(WEIR_PYTHON python3)
    mark_as_advanced(WEIR_PYTHON)
    set(_weir_hostile "${PROJECT_SOURCE_DIR}/c-tests/hostile")
    set(_weir_hostile_environment "PYTHONDONTWRITEBYTECODE=1")
    if(WEIR_SANITIZE)
        list(APPEND _weir_hostile_environment "HOSTILE_SANITIZED=1")
    endif()
    set(_weir_hostile_kinds echo chat file)
    if(WEIR_SANITIZE STREQUAL "thread")
        # The chat server takes its signals in the threads that run; this sanitizer keeps a signal back from a thread that
        # sleeps in a system call which it does not know.
        list(REMOVE_ITEM _weir_hostile_kinds chat)
    endif()
    if(WEIR_PYTHON)
        foreach(_kind IN LISTS _weir_hostile_kinds)
            weir_add_script(hostile.${_kind} hostile 300 "${WEIR_PYTHON}" "${_weir_hostile}/tcp.py" ${_kind}
                "$<TARGET_FILE:${_kind}_server>")
            set_tests_properties(hostile.${_kind} PROPERTIES ENVIRONMENT "${_weir_hostile_environment}")
        endforeach()
        if(NOT WEIR_SANITIZE)
            weir_add_script(hostile.udp hostile 300 "${WEIR_PYTHON}" "${_weir_hostile}/udp.py" "$<TARGET_FILE:udp_echo>")
            set_tests_properties(hostile.udp PROPERTIES ENVIRONMENT "${_weir_hostile_environment}")
            weir_add_script(soak.echo soak 300 "${WEIR_PYTHON}" "${PROJECT_SOURCE_DIR}/c-tests/soak/echo.py"
                --server "$<TARGET_FILE:echo_server>" --load "$<TARGET_FILE:echo_load>" --seconds 8)
            set_tests_properties(soak.echo PROPERTIES RUN_SERIAL TRUE)
        endif()
    endif()
endif()
