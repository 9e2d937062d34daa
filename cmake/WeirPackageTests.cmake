# What is made from the header, and the packages: `ctest -L packaging`. Each needs tools of its own (scripts/install-deps
# package) and is left out, with a line, where they are missing.

find_program(WEIR_PYTHON python3)
foreach(_tool abidiff doxygen dpkg-shlibdeps file pkg-config)
    find_program(WEIR_TOOL_${_tool} ${_tool})
    mark_as_advanced(WEIR_TOOL_${_tool})
endforeach()

function(weir_add_packaging_test name needs)
    foreach(_tool IN LISTS needs)
        if(NOT WEIR_TOOL_${_tool})
            message(STATUS "${_tool} not found: the test ${name} is left out")
            return()
        endif()
    endforeach()
    if(NOT WEIR_PYTHON)
        message(STATUS "python3 not found: the test ${name} is left out")
        return()
    endif()
    weir_add_script(${name} packaging 600 "${WEIR_PYTHON}" ${ARGN})
endfunction()

set(_weir_scripts "${PROJECT_SOURCE_DIR}/scripts")
weir_add_packaging_test(man.pages "" "${_weir_scripts}/reference/check-manpages")
weir_add_packaging_test(docs.html doxygen "${_weir_scripts}/reference/html" "${PROJECT_BINARY_DIR}/html")
weir_add_packaging_test(abi.check abidiff "${_weir_scripts}/abi" check)
weir_add_packaging_test(abi.breaks abidiff "${PROJECT_SOURCE_DIR}/c-tests/packages/abi_breaks.py")
weir_add_packaging_test(abi.agree abidiff "${_weir_scripts}/abi" agree "${WEIR_CARGO_TARGET_DIR}"
    --cargo "${WEIR_CARGO}")
if(CMAKE_CXX_COMPILER)
    weir_add_packaging_test(package.debian "dpkg-shlibdeps;file;pkg-config"
        "${PROJECT_SOURCE_DIR}/c-tests/packages/debian.py"
        "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}" "${CMAKE_COMMAND}")
endif()
