# Fault injection: a driver with scenarios, and the injector, a library that the driver preloads into itself.
# Under the address sanitizer, whose own library must come first, the injector is a part of the driver, and
# ctest is not told: `scripts/proof-faults --asan` runs it. The thread sanitizer stands in the way of both.
if(NOT WEIR_TOP_LEVEL OR WEIR_SANITIZE STREQUAL "thread")
    return()
endif()

set(_weir_fault "${PROJECT_SOURCE_DIR}/c-tests/fault")
weir_add_program(faults "${_weir_fault}/faults.c" c-tests)
foreach(_part IN ITEMS model streams datagrams loop outside)
    target_sources(faults PRIVATE "${_weir_fault}/${_part}.c")
endforeach()
target_include_directories(faults PRIVATE "${PROJECT_SOURCE_DIR}/c-tests")

if(WEIR_SANITIZE)
    target_sources(faults PRIVATE "${_weir_fault}/inject.c")
    # It looks for more arguments than syscall() was given, as the real one does.
    set_source_files_properties("${_weir_fault}/inject.c" PROPERTIES COMPILE_OPTIONS -fno-sanitize=all)
    set_target_properties(faults PROPERTIES ENABLE_EXPORTS ON)
    target_link_libraries(faults PRIVATE ${CMAKE_DL_LIBS})
    target_compile_definitions(faults PRIVATE WEIR_INJECTOR="")
    return()
endif()

add_library(weir_fault_injector MODULE "${_weir_fault}/inject.c")
target_compile_definitions(weir_fault_injector PRIVATE _GNU_SOURCE)
target_compile_options(weir_fault_injector PRIVATE -Wall -Wextra -Werror)
target_link_libraries(weir_fault_injector PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
set_target_properties(weir_fault_injector PROPERTIES
    C_STANDARD 11 LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/c-tests")
target_compile_definitions(faults PRIVATE WEIR_INJECTOR="$<TARGET_FILE:weir_fault_injector>")
add_dependencies(faults weir_fault_injector)

# One ctest for each scenario, in the short form.
set(_weir_cases "${PROJECT_BINARY_DIR}/c-tests/faults.cmake")
set(_weir_loader "${PROJECT_BINARY_DIR}/c-tests/faults.load.cmake")
add_custom_command(TARGET faults POST_BUILD
    COMMAND "${CMAKE_COMMAND}" "-DPROGRAM=$<TARGET_FILE:faults>" -DPREFIX=fault
        "-DOUT=${_weir_cases}" -DTIMEOUT=300 -DENVIRONMENT=FAULT_LONG=0 -DVALGRIND=
        -P "${PROJECT_SOURCE_DIR}/cmake/discover.cmake"
    BYPRODUCTS "${_weir_cases}"
    VERBATIM)
file(WRITE "${_weir_loader}"
    "if(EXISTS \"${_weir_cases}\")\n  include(\"${_weir_cases}\")\nelse()\n"
    "  add_test(fault.not_built faults-not-built)\nendif()\n")
set_property(DIRECTORY "${PROJECT_SOURCE_DIR}" APPEND PROPERTY TEST_INCLUDE_FILES "${_weir_loader}")
add_test(NAME fault.imports COMMAND "${_weir_fault}/imports"
    "${weir_LIBRARY_DIR}/libweir.so.${weir_VERSION}" "$<TARGET_FILE:weir_fault_injector>")
set_tests_properties(fault.imports PROPERTIES LABELS fault TIMEOUT 60)
