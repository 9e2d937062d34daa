# The manual pages, made from weir.h when it changes.

find_program(WEIR_PYTHON python3)
mark_as_advanced(WEIR_PYTHON)
if(WEIR_PYTHON)
    set(_weir_from "${PROJECT_SOURCE_DIR}/scripts/reference")
    set(_weir_pages "${PROJECT_BINARY_DIR}/man")
    add_custom_command(OUTPUT "${_weir_pages}/made"
        COMMAND "${CMAKE_COMMAND}" -E make_directory "${_weir_pages}"
        COMMAND "${WEIR_PYTHON}" "${_weir_from}/manpages" --gzip --version "${weir_VERSION}" "${_weir_pages}"
        COMMAND "${CMAKE_COMMAND}" -E touch "${_weir_pages}/made"
        DEPENDS "${PROJECT_SOURCE_DIR}/include/weir.h" "${PROJECT_SOURCE_DIR}/Cargo.toml" "${_weir_from}/manpages"
            "${_weir_from}/header.py" "${_weir_from}/mdoc.py" "${_weir_from}/titles.py"
        COMMENT "Making the manual pages"
        VERBATIM)
    add_custom_target(weir_manual ALL DEPENDS "${_weir_pages}/made")
    install(DIRECTORY "${_weir_pages}/man3" "${_weir_pages}/man7" DESTINATION "${CMAKE_INSTALL_MANDIR}"
        COMPONENT dev OPTIONAL FILES_MATCHING PATTERN "*.gz")
else()
    message(STATUS "python3 not found: the manual pages are left out")
endif()
