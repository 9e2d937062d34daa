# Run by cpack for the packages that it has made: takes out the scripts that call ldconfig, which cpack adds to every
# package with a library. Debian has a trigger for that, which packaging/triggers names.

find_program(DPKG_DEB dpkg-deb REQUIRED)
foreach(_package IN LISTS CPACK_PACKAGE_FILES)
    set(_folder "${_package}.folder")
    file(REMOVE_RECURSE "${_folder}")
    execute_process(COMMAND "${DPKG_DEB}" -R "${_package}" "${_folder}" COMMAND_ERROR_IS_FATAL ANY)
    if(EXISTS "${_folder}/DEBIAN/postinst")
        file(REMOVE "${_folder}/DEBIAN/postinst" "${_folder}/DEBIAN/postrm")
        execute_process(COMMAND "${DPKG_DEB}" --root-owner-group -Zxz -b "${_folder}" "${_package}"
            OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
    endif()
    file(REMOVE_RECURSE "${_folder}")
endforeach()
