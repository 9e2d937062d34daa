# Writes the ctest definitions of one test program: cmake -DPROGRAM= -DPREFIX= -DLABEL= -DOUT= -P discover.cmake

execute_process(COMMAND "${PROGRAM}" --list
    OUTPUT_VARIABLE listed ERROR_VARIABLE problem RESULT_VARIABLE result TIMEOUT 60)
if(NOT result EQUAL 0)
    message(FATAL_ERROR "${PROGRAM} --list: ${result}\n${problem}")
endif()
string(REGEX MATCHALL "[A-Za-z0-9_]+" cases "${listed}")
if(NOT cases)
    message(FATAL_ERROR "${PROGRAM} --list names no case")
endif()

set(text "")
foreach(case IN LISTS cases)
    set(name "${PREFIX}.${case}")
    string(APPEND text "add_test([=[${name}]=] [=[${PROGRAM}]=] ${case})\n"
        "set_tests_properties([=[${name}]=] PROPERTIES TIMEOUT ${TIMEOUT} LABELS [=[${LABEL};${PREFIX}]=]"
        " ENVIRONMENT [=[${ENVIRONMENT}]=])\n")
endforeach()
if(VALGRIND)
    string(APPEND text "if(CTEST_CONFIGURATION_TYPE STREQUAL \"Valgrind\")\n")
    foreach(case IN LISTS cases)
        if(NOT case MATCHES "${VALGRIND_SKIP}")
            set(name "valgrind.${PREFIX}.${case}")
            string(APPEND text "  add_test([=[${name}]=] [=[${VALGRIND}]=] --quiet --error-exitcode=97"
                " --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite"
                " --child-silent-after-fork=yes --fair-sched=yes [=[${PROGRAM}]=] ${case})\n"
                "  set_tests_properties([=[${name}]=] PROPERTIES TIMEOUT 300 LABELS valgrind"
                " ENVIRONMENT [=[CHECK_SECONDS=290;CHECK_SLOW=1]=])\n")
        endif()
    endforeach()
    string(APPEND text "endif()\n")
endif()
file(WRITE "${OUT}" "${text}")
